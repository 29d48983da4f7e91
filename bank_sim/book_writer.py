"""Writes the books: what each operation does to the tables, within the transaction that the file has begun."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence

import msgspec

from .entries import (
    Answer,
    ApplyChanges,
    CallbackResult,
    Change,
    Operation,
    Payout,
    PayoutOrder,
    PlanCallback,
    ReturnOrder,
    SaveFaults,
    Verb,
)

CHANGES_MAX = 500  # applied in one commit
COPY_AFTER_US = 300_000  # a callback that is told twice comes again so much later

_KNOWN = """
SELECT * FROM payouts WHERE reference IN (SELECT value FROM json_each(?1))
UNION ALL
SELECT * FROM payouts WHERE idempotency_key IN (SELECT value FROM json_each(?1))
ORDER BY seq
"""


class BookWriter:
    """Writes the books. Used by the writer's thread alone."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._last = 0
        self.recount()

    def recount(self) -> None:
        """Find the last number that was given: at the start, and when a batch was given up."""
        row = self._connection.execute(
            "SELECT max(coalesce((SELECT max(seq) FROM payouts), 0),"
            " coalesce((SELECT max(place) FROM payouts WHERE place IS NOT NULL), 0))"
        ).fetchone()
        self._last = int(row[0])

    def write(self, batch: Sequence[Operation], now_us: int) -> list[Answer]:
        """Carry out all operations, as of `now_us`; return an answer for each."""
        orders = [operation for operation in batch if isinstance(operation, PayoutOrder)]
        paid = dict(zip(map(id, orders), self._pay(orders, now_us), strict=True)) if orders else {}
        return [paid.get(id(operation)) or self._other(operation, now_us) for operation in batch]

    def _number(self) -> int:
        self._last += 1
        return self._last

    def _pay(self, orders: Sequence[PayoutOrder], now_us: int) -> Iterable[Answer]:
        names = {name for order in orders for name in (order.reference, order.key)}
        rows = self._connection.execute(_KNOWN, (msgspec.json.encode(list(names)).decode(),))
        known = [Payout._make(row) for row in rows]
        by_reference = {payout.reference: payout for payout in known}  # the last one, if there are several
        by_key = {payout.key: payout for payout in known}
        booked: list[Payout] = []
        changes: list[tuple[int, int, str, str | None, int | None]] = []
        answers: list[Answer] = []
        for order in orders:
            payout = _remembered(by_reference.get(order.reference), order, now_us)
            same_key = _remembered(by_key.get(order.key), order, now_us)
            if payout is not None:
                verb = Verb.KNOWN if _same(payout, order) else Verb.CONFLICT
            elif same_key is not None:
                verb, payout = Verb.CONFLICT, same_key
            else:
                verb, payout = Verb.BOOKED, self._new(order, now_us)
                by_reference[payout.reference] = by_key[payout.key] = payout
                booked.append(payout)
                changes += [
                    (payout.seq, now_us + c.after_us, c.status, c.code, c.amount) for c in order.plan.changes
                ]
            answers.append(Answer(verb, payout))
        if booked:
            self._connection.executemany(
                "INSERT INTO payouts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", booked
            )
        if changes:
            self._connection.executemany(
                "INSERT INTO changes (seq, due_us, status, code, amount) VALUES (?, ?, ?, ?, ?)", changes
            )
        return answers

    def _new(self, order: PayoutOrder, now_us: int) -> Payout:
        return Payout(
            seq=self._number(),
            reference=order.reference,
            idempotency_key=None if order.key == order.reference else order.key,
            amount=order.amount,
            currency=order.currency,
            destination=order.destination,
            status=order.plan.status,
            decline_code=order.plan.decline_code,
            created_us=now_us,
            returned_us=None,
            place=None,
            paid_us=now_us if order.plan.status == "paid" else None,
            returned_amount=None,
        )

    def _other(self, operation: Operation, now_us: int) -> Answer:
        match operation:
            case ReturnOrder(reference, plan_callback, amount):
                return self._return(reference, amount, plan_callback, now_us)
            case ApplyChanges(plan_callback):
                self._apply_changes(plan_callback, now_us)
            case SaveFaults(faults_json):
                self._connection.execute(
                    "INSERT OR REPLACE INTO settings VALUES ('faults', ?)", (faults_json,)
                )
            case CallbackResult(seq, type_, delivered, retry_in_us):
                self._note_callback(seq, type_, delivered, retry_in_us, now_us)
        return Answer(Verb.BOOKED)

    # --- What becomes of a payout later ---

    def _return(self, reference: str, amount: int | None, plan_callback: PlanCallback, now_us: int) -> Answer:
        payout = find(self._connection, reference)
        if payout is None:
            return Answer(Verb.UNKNOWN)
        if payout.status == "returned":
            return Answer(Verb.KNOWN, payout)
        if payout.status != "paid":
            return Answer(Verb.NOT_PAID, payout)
        if amount is not None and amount > payout.amount:
            return Answer(Verb.TOO_MUCH, payout)
        self._change(payout, Change(0, "returned", None, amount), plan_callback, now_us)
        return Answer(Verb.BOOKED, find(self._connection, reference))

    def _apply_changes(self, plan_callback: PlanCallback, now_us: int) -> None:
        due = self._connection.execute(
            "SELECT id, seq, status, code, amount FROM changes WHERE due_us <= ? ORDER BY due_us, id LIMIT ?",
            (now_us, CHANGES_MAX),
        ).fetchall()
        for id_, seq, status, code, amount in due:
            row = self._connection.execute("SELECT * FROM payouts WHERE seq = ?", (seq,)).fetchone()
            self._change(Payout._make(row), Change(0, status, code, amount), plan_callback, now_us)
            self._connection.execute("DELETE FROM changes WHERE id = ?", (id_,))

    def _change(self, payout: Payout, change: Change, plan_callback: PlanCallback, now_us: int) -> None:
        """Make the change if it can still happen to the payout, and have the wallet told of it."""
        match payout.status, change.status:
            case "pending", "paid":
                # It leaves the bank now, behind everything that has left before: a reader of the books has
                # passed the place that its number would give it.
                changed = payout._replace(status="paid", paid_us=now_us, place=self._number())
            case (("pending" | "paid"), "declined"):
                changed = payout._replace(status="declined", decline_code=change.code)
            case "paid", "returned":
                changed = payout._replace(
                    status="returned", returned_us=now_us, returned_amount=change.amount or payout.amount
                )
            case _:
                return
        self._connection.execute(
            "UPDATE payouts SET status = ?, decline_code = ?, returned_us = ?, place = ?, paid_us = ?,"
            " returned_amount = ? WHERE seq = ?",
            (
                changed.status,
                changed.decline_code,
                changed.returned_us,
                changed.place,
                changed.paid_us,
                changed.returned_amount,
                changed.seq,
            ),
        )
        type_ = f"payout.{changed.status}"
        delay_us, copies = plan_callback(type_, changed.reference)
        self._connection.execute(
            "INSERT INTO events VALUES (?, ?, ?, 0, ?, ?, NULL)",
            (changed.seq, type_, now_us, now_us + delay_us, copies),
        )

    def _note_callback(self, seq: int, type_: str, delivered: bool, retry_in_us: int, now_us: int) -> None:
        if not delivered:
            self._connection.execute(
                "UPDATE events SET attempts = attempts + 1, due_us = ? WHERE seq = ? AND type = ?",
                (now_us + retry_in_us, seq, type_),
            )
            return
        self._connection.execute(
            "UPDATE events SET attempts = attempts + 1, copies = copies - 1, due_us = ?,"
            " delivered_us = iif(copies > 1, NULL, ?) WHERE seq = ? AND type = ?",
            (now_us + COPY_AFTER_US, now_us, seq, type_),
        )


def find(connection: sqlite3.Connection, reference: str) -> Payout | None:
    """Return the payout of this reference; of several, the last."""
    row = connection.execute(
        "SELECT * FROM payouts WHERE reference = ? ORDER BY seq DESC LIMIT 1", (reference,)
    ).fetchone()
    return None if row is None else Payout._make(row)


def _remembered(payout: Payout | None, order: PayoutOrder, now_us: int) -> Payout | None:
    """Return the payout, unless its key is so old that the bank has forgotten it."""
    if payout is None or not order.key_window_us or payout.created_us > now_us - order.key_window_us:
        return payout
    return None


def _same(payout: Payout, order: PayoutOrder) -> bool:
    if (payout.amount, payout.currency) != (order.amount, order.currency):
        return False
    return payout.destination == order.destination or _sorted(payout.destination) == _sorted(
        order.destination
    )


def _sorted(document: str | None) -> str | None:
    """Return the JSON with its members in order and its numbers as they are: white space makes no other payout."""
    if document is None:
        return None
    return json.dumps(json.loads(document, parse_float=_number, parse_int=_number), sort_keys=True)


def _number(text: str) -> dict[str, str]:
    """Return a number as its text, told apart from a text: no float could hold them all."""
    return {"number": text}

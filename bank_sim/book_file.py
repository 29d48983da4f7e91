"""The file that holds the books: SQLite, and all of its SQL.

WAL with synchronous=FULL: when `write` returns, its whole batch is on disk, or none of it is. One connection
writes (in the books' writer thread), another one reads (on the event loop) and sees only what is committed.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from .entries import (
    Answer,
    CallbackResult,
    DueCallback,
    Operation,
    Payout,
    PayoutOrder,
    ReturnOrder,
    SaveFaults,
    Verb,
)

LOCK_WAIT_S = 5.0  # how long a predecessor may take to end

_SCHEMA = """
CREATE TABLE IF NOT EXISTS payouts (
    seq             INTEGER PRIMARY KEY,
    reference       TEXT NOT NULL UNIQUE,
    idempotency_key TEXT,
    amount          INTEGER NOT NULL CHECK (amount > 0),
    currency        TEXT NOT NULL,
    destination     TEXT,
    status          TEXT NOT NULL CHECK (status IN ('paid', 'returned', 'declined')),
    decline_code    TEXT,
    created_us      INTEGER NOT NULL,
    returned_us     INTEGER,
    CHECK ((status = 'declined') = (decline_code IS NOT NULL)),
    CHECK ((status = 'returned') = (returned_us IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS payouts_by_key ON payouts (idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE TABLE IF NOT EXISTS callbacks (
    seq          INTEGER PRIMARY KEY REFERENCES payouts (seq),
    attempts     INTEGER NOT NULL,
    due_us       INTEGER NOT NULL,
    delivered_us INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS callbacks_due ON callbacks (due_us) WHERE delivered_us IS NULL;
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""

_KNOWN = """
SELECT * FROM payouts WHERE reference IN (SELECT value FROM json_each(?1))
UNION ALL
SELECT * FROM payouts WHERE idempotency_key IN (SELECT value FROM json_each(?1))
"""


class BooksInUse(Exception):
    """Another bank has this file open."""


class BookFile:
    """Opens the books, or begins new ones. Raises BooksInUse, OSError, sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(path.with_name(path.name + ".lock"))
        self._writer = _connect(path)
        self._writer.executescript(_SCHEMA)
        self._writer.execute(
            "INSERT INTO settings VALUES ('books_id', ?) ON CONFLICT DO NOTHING", (secrets.token_hex(4),)
        )
        self._reader = _connect(path)
        self._reader.execute("PRAGMA query_only = 1")
        self.books_id = str(self._setting("books_id"))
        self._seq = self._last_seq()

    def close(self) -> None:
        """Closes both connections; the last one folds the WAL into the file."""
        self._reader.close()
        self._writer.close()
        os.close(self._lock)

    # --- writing: in the writer's thread ---

    def write(self, batch: Sequence[Operation]) -> list[Answer]:
        """Books all of them in one commit. On sqlite3.Error nothing is, unless the commit itself failed."""
        now_us = time.time_ns() // 1000
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            orders = [operation for operation in batch if isinstance(operation, PayoutOrder)]
            paid = dict(zip(map(id, orders), self._pay(orders, now_us), strict=True)) if orders else {}
            answers = [paid.get(id(operation)) or self._other(operation, now_us) for operation in batch]
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            self._seq = self._last_seq()
            raise
        return answers

    def _pay(self, orders: Sequence[PayoutOrder], now_us: int) -> Iterable[Answer]:
        names = {name for order in orders for name in (order.reference, order.key)}
        rows = self._writer.execute(_KNOWN, (msgspec.json.encode(list(names)).decode(),))
        known = [Payout._make(row) for row in rows]
        by_reference = {payout.reference: payout for payout in known}
        by_key = {payout.key: payout for payout in known}
        booked: list[Payout] = []
        answers: list[Answer] = []
        for order in orders:
            payout = by_reference.get(order.reference)
            if payout is not None:
                verb = Verb.KNOWN if _same(payout, order) else Verb.CONFLICT
            elif order.key in by_key:
                verb, payout = Verb.CONFLICT, by_key[order.key]
            else:
                verb, payout = Verb.BOOKED, self._line(order, now_us)
                by_reference[payout.reference] = by_key[payout.key] = payout
                booked.append(payout)
            answers.append(Answer(verb, payout))
        if booked:
            self._writer.executemany("INSERT INTO payouts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", booked)
        return answers

    def _line(self, order: PayoutOrder, now_us: int) -> Payout:
        self._seq += 1
        return Payout(
            seq=self._seq,
            reference=order.reference,
            idempotency_key=None if order.key == order.reference else order.key,
            amount=order.amount,
            currency=order.currency,
            destination=order.destination,
            status="declined" if order.decline_code else "paid",
            decline_code=order.decline_code,
            created_us=now_us,
            returned_us=None,
        )

    def _other(self, operation: Operation, now_us: int) -> Answer:
        match operation:
            case ReturnOrder(reference):
                return self._return(reference, now_us)
            case SaveFaults(faults_json):
                self._writer.execute("INSERT OR REPLACE INTO settings VALUES ('faults', ?)", (faults_json,))
            case CallbackResult(seq, delivered, retry_in_us):
                self._writer.execute(
                    "UPDATE callbacks SET attempts = attempts + 1, due_us = ?, delivered_us = ?"
                    " WHERE seq = ?",
                    (now_us + retry_in_us, now_us if delivered else None, seq),
                )
        return Answer(Verb.BOOKED)

    def _return(self, reference: str, now_us: int) -> Answer:
        payout = _find(self._writer, reference)
        if payout is None:
            return Answer(Verb.UNKNOWN)
        if payout.status == "declined":
            return Answer(Verb.NOT_PAID, payout)
        if payout.status == "returned":
            return Answer(Verb.KNOWN, payout)
        self._writer.execute(
            "UPDATE payouts SET status = 'returned', returned_us = ? WHERE seq = ?", (now_us, payout.seq)
        )
        self._writer.execute("INSERT INTO callbacks VALUES (?, 0, ?, NULL)", (payout.seq, now_us))
        return Answer(Verb.BOOKED, payout._replace(status="returned", returned_us=now_us))

    def _last_seq(self) -> int:
        return int(self._writer.execute("SELECT coalesce(max(seq), 0) FROM payouts").fetchone()[0])

    # --- reading: on the event loop, some 20 µs each ---

    def find(self, reference: str) -> Payout | None:
        """The line of this reference, paid, returned or declined."""
        return _find(self._reader, reference)

    def page(self, after_seq: int, limit: int) -> list[Payout]:
        """Up to `limit` payouts (no declines) booked after `after_seq`, in booking order."""
        rows = self._reader.execute(
            "SELECT * FROM payouts WHERE seq > ? AND status <> 'declined' ORDER BY seq LIMIT ?",
            (after_seq, limit),
        )
        return [Payout._make(row) for row in rows]

    def due_callbacks(self, limit: int) -> list[DueCallback]:
        """Up to `limit` callbacks that are due now, the longest due first."""
        rows = self._reader.execute(
            "SELECT c.attempts, p.* FROM callbacks c JOIN payouts p USING (seq)"
            " WHERE c.delivered_us IS NULL AND c.due_us <= ? ORDER BY c.due_us LIMIT ?",
            (time.time_ns() // 1000, limit),
        )
        return [DueCallback(Payout._make(row[1:]), row[0]) for row in rows]

    def next_callback_us(self) -> int | None:
        """When the next callback is due (µs since 1970), or None if none waits."""
        row = self._reader.execute("SELECT min(due_us) FROM callbacks WHERE delivered_us IS NULL").fetchone()
        return None if row[0] is None else int(row[0])

    def callbacks_waiting(self) -> int:
        """How many returns the wallet has not been told of yet."""
        row = self._reader.execute("SELECT count(*) FROM callbacks WHERE delivered_us IS NULL").fetchone()
        return int(row[0])

    def faults_json(self) -> str | None:
        """The faults last saved, or None if none ever were."""
        return self._setting("faults")

    def _setting(self, name: str) -> str | None:
        row = self._reader.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])


def _find(connection: sqlite3.Connection, reference: str) -> Payout | None:
    row = connection.execute("SELECT * FROM payouts WHERE reference = ?", (reference,)).fetchone()
    return None if row is None else Payout._make(row)


def _same(payout: Payout, order: PayoutOrder) -> bool:
    return (payout.amount, payout.currency, payout.destination) == (
        order.amount,
        order.currency,
        order.destination,
    )


def _connect(path: Path) -> sqlite3.Connection:
    # Used by one thread at a time, but not always by the one that opened it.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 4000")  # pages, 16 MB: few checkpoints
    connection.execute("PRAGMA journal_size_limit = 33554432")
    connection.execute("PRAGMA cache_size = -16384")  # KiB
    return connection


def _lock(path: Path) -> int:
    """Holds the books for this process alone: a second bank would number payouts on its own."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise BooksInUse(f"another bank has the books open ({path.name} is locked)") from error
            time.sleep(0.1)

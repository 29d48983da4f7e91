"""Invariants 2, 3 and 4 for withdrawals: legal paths in time order, and the right transfers for each state."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from db.audit.findings import Findings
from wallet.withdrawal import END_STATES, OPEN_STATES, Status, is_legal_history

_TRANSFERS_OF: dict[Status, list[str]] = {
    Status.PENDING: ["reserve"],
    Status.PROCESSING: ["reserve"],
    Status.REQUIRES_ATTENTION: ["reserve"],
    Status.COMPLETED: ["reserve", "payout"],
    Status.FAILED: ["reserve", "refund"],
    Status.CANCELLED: ["reserve", "refund"],
    Status.RETURNED: ["reserve", "payout", "return"],
}
"""Kinds of transfers for each state, in the order in which they are written."""

_MOVES_OF = {
    "payout": (Status.COMPLETED,),
    "refund": (Status.FAILED, Status.CANCELLED),
    "return": (Status.RETURNED,),
}
"""The transitions that are written in one transaction with a transfer."""

_MOVERS = ("client", "actor", "reconciler", "bank", "operator")

_REQUIRED = (
    "currency",
    "amount",
    "status",
    "attempts",
    "rounds",
    "next_attempt_at",
    "ring_at",
    "history_length",
    "created_at",
    "updated_at",
)

_MOMENT = timedelta(minutes=1)
"""Longest difference between two instants from one transaction, which may have waited for a lock."""

_EVER = datetime(1, 1, 1, tzinfo=UTC)
_FIRST = datetime(2000, 1, 1, tzinfo=UTC)

_CLOCK_STEP_MAX = timedelta(days=1)
"""A wrong clock that was set back leaves rows from the future, but from no further ahead than this."""


class WithdrawalJudge:
    """Judges withdrawals, together with their history and transfers, one after the other."""

    def __init__(self, findings: Findings, now: datetime, due_within: timedelta) -> None:
        self._findings = findings
        self._now = now
        self._due_within = due_within

    def judge(self, row: Any) -> None:
        """Report the violations of one withdrawal."""
        if not row["there"]:
            parts = [*(row["kinds"] or []), *(["history"] if row["path"] else [])]
            self._add(row, 4, "no_withdrawal", "a withdrawal", " + ".join(parts) + " without one")
            return
        if missing := [column for column in _REQUIRED if row[column] is None]:
            self._add(row, 3, "incomplete", ", ".join(missing), "none")
            return
        try:
            status = Status(row["status"])
            path = [Status.PENDING, *(Status(text) for seq, text in _history(row) if seq != 1)]
        except ValueError as error:
            self._add(row, 3, "unknown_state", "known states", error)
            return
        if row["archived_at"] is not None:
            self._judge_archived(row, status, path)
            return
        self._judge_path(row, status, path)
        self._judge_times(row, status)
        self._judge_fields(row, status, path)
        self._judge_transfers(row, status)
        if status in OPEN_STATES:
            self._judge_due(row, status)

    def _judge_archived(self, row: Any, status: Status, path: list[Status]) -> None:
        """Judge what is left of a withdrawal whose movements are archived. The bank may still have returned it."""
        if status in OPEN_STATES:
            self._add(row, 3, "archived_open", "an end state", status)
        if path[-1] is not status or row["history_length"] != max(
            seq for seq, _ in _history(row) or [(0, "")]
        ):
            self._add(row, 3, "history_end", f"a history that ends in {status}", " → ".join(path))
        expected = ["return"] if status is Status.RETURNED else []
        if (row["kinds"] or []) != expected:
            self._add(row, 4, "transfers", expected or "none: they are archived", row["kinds"])
        self._judge_fields(row, status, [Status.PENDING, Status.PROCESSING, *path])

    def _judge_path(self, row: Any, status: Status, path: list[Status]) -> None:
        shown = " → ".join(path)
        seqs = [seq for seq, _ in _history(row)]
        # The first row is implied: a withdrawal that exists was once accepted.
        if seqs not in (list(range(2, len(path) + 1)), list(range(1, len(path) + 1))):
            self._add(row, 3, "history_gap", f"rows 2 to {len(path)}", seqs)
        if any(seq == 1 and text != Status.PENDING for seq, text in _history(row)):
            self._add(row, 3, "illegal_path", "pending first", row["path"][0])
        if not is_legal_history(path):
            self._add(row, 3, "illegal_path", "a legal path", shown)
        if path[-1] is not status:
            self._add(row, 3, "history_end", f"a history that ends in {status}", shown)
        if len(path) != row["history_length"]:
            self._add(row, 3, "history_length", f"{len(path)} states", row["history_length"])
        if len({state for state in path if state in END_STATES - {Status.RETURNED}}) > 1:
            self._add(row, 3, "two_ends", "one end state", shown)

    def _judge_times(self, row: Any, status: Status) -> None:
        times = [_at(row["created_at"]), *(_at(time) for time in row["times"] or [])]
        last, latest = times[-1], self._now + _CLOCK_STEP_MAX
        if any(later < earlier for earlier, later in pairwise(times)) or last > latest:
            self._add(row, 3, "history_time", "moves in the order of time", " → ".join(map(str, times)))
        updated_at = _at(row["updated_at"])
        if status is Status.PROCESSING:  # each attempt changes it
            if not max(last - _MOMENT, _FIRST) <= updated_at <= latest:
                self._add(row, 3, "updated_at", f"between {last} and {latest}", updated_at)
        elif updated_at != last:
            self._add(row, 3, "updated_at", f"{last}, as its last move", updated_at)

    def _judge_fields(self, row: Any, status: Status, path: list[Status]) -> None:
        attempts, begun = row["attempts"], _begun_by(row)
        rules = [
            ("amount", row["amount"] > 0, "more than 0", row["amount"]),
            (
                "bank_reference",
                bool(row["bank_reference"]) == (status in (Status.COMPLETED, Status.RETURNED)),
                f"the bank's reference of what is paid ({status})",
                row["bank_reference"],
            ),
            (
                "attempts",
                attempts >= 1 if begun in ("actor", None) else attempts >= 0,
                "one at least, of what an actor began",
                attempts,
            ),
            (
                "attempts",
                attempts == 0 or Status.PROCESSING in path,
                "none, of what never was processing",
                attempts,
            ),
            ("rounds", 0 <= row["rounds"] <= max(attempts, 0), "0 to attempts", row["rounds"]),
            (
                "failure",
                _failure_holds(row, status),
                f"code and reason, or none, as goes with {status}",
                f"{row['failure_code']}, {row['failure_reason']}",
            ),
            (
                "first_attempt_at",
                begun is None or _first_attempt_holds(row),
                f"between {row['created_at']} and {row['updated_at']} after {attempts} attempts",
                row["first_attempt_at"],
            ),
            (
                "accepted_at",
                row["accepted_at"] is None
                or (Status.PROCESSING in path and _is_within(row, row["accepted_at"])),
                f"none, or between {row['created_at']} and {row['updated_at']}",
                row["accepted_at"],
            ),
            (
                "looked_up_at",
                row["looked_up_at"] is None
                or _FIRST <= _at(row["looked_up_at"]) <= self._now + _CLOCK_STEP_MAX,
                "an instant that was",
                row["looked_up_at"],
            ),
            (
                "moved_by",
                all(by is None or by.split(":")[0] in _MOVERS for by in row["moved_by"] or []),
                " or ".join(_MOVERS),
                row["moved_by"],
            ),
        ]
        for kind, holds, expected, found in rules:
            if not holds:
                self._add(row, 3, kind, expected, found)

    def _judge_transfers(self, row: Any, status: Status) -> None:
        kinds, amounts = row["kinds"] or [], row["amounts"] or []
        if kinds != _TRANSFERS_OF[status]:
            expected = f"{status}: {' + '.join(_TRANSFERS_OF[status])}"
            self._add(row, 4, "transfers", expected, " + ".join(kinds) or "no transfers")
        for kind, amount in zip(kinds, amounts, strict=True):
            right = 0 < (amount or 0) <= row["amount"] if kind == "return" else amount == row["amount"]
            if not right:
                self._add(row, 4, "transfer_amount", f"{kind} of {row['amount']}", amount)
        if any(currency != row["currency"] for currency in row["currencies"] or []):
            self._add(row, 4, "transfer_currency", row["currency"], row["currencies"])
        if row["reserved_by_itself"] is False:
            self._add(row, 4, "reserve", "a reserve with its own identifier", "another one")
        if kinds[:1] == ["reserve"] and row["moved_at"][0] != row["created_at"]:
            self._add(row, 3, "created_at", f"{row['moved_at'][0]}, as its reserve", row["created_at"])
        history = {text: at for at, text in zip(row["times"] or [], row["path"] or [], strict=True)}
        for kind, moved_at in zip(kinds[1:], (row["moved_at"] or [])[1:], strict=True):
            at = next((history[state] for state in _MOVES_OF.get(kind, ()) if state in history), None)
            if at is not None and abs(_at(moved_at) - _at(at)) > _MOMENT:
                self._add(row, 3, "history_time", f"{moved_at}, as its {kind}", at)

    def _judge_due(self, row: Any, status: Status) -> None:
        if status is Status.REQUIRES_ATTENTION:
            return  # an operator or the bank's word takes it up
        known = max(self._now, min(_at(row["updated_at"]), self._now + _CLOCK_STEP_MAX))
        latest = known + self._due_within
        for column in ("next_attempt_at", "ring_at"):
            earliest = max(_at(row["created_at"]), _FIRST) - _CLOCK_STEP_MAX
            if not earliest <= _at(row[column]) <= latest:
                self._add(row, 3, "never_due", f"{column} between {earliest} and {latest}", row[column])

    def _add(self, row: Any, invariant: int, kind: str, expected: object, found: object) -> None:
        self._findings.add(
            invariant,
            kind,
            f"withdrawal {row['id']} of {row['user_id']}",
            expected,
            found,
            amount=row["amount"] or (row["amounts"] or [0])[0],
            currency=row["currency"] or (row["currencies"] or [""])[0],
        )


def _failure_holds(row: Any, status: Status) -> bool:
    has = (row["failure_code"] is not None, row["failure_reason"] is not None)
    if status in (Status.FAILED, Status.REQUIRES_ATTENTION):
        return has == (True, True)
    if status in (Status.PENDING, Status.CANCELLED, Status.COMPLETED):
        return has == (False, False)
    return has[0] == has[1]


def _history(row: Any) -> list[tuple[int, str]]:
    return list(zip(row["seqs"] or [], row["path"] or [], strict=True))


def _begun_by(row: Any) -> str | None:
    """Return who made the transition to processing: None in rows older than that record, "" if nobody did."""
    for by, state in zip(row["moved_by"] or [], row["path"] or [], strict=True):
        if state == Status.PROCESSING:
            return None if by is None else str(by).split(":")[0]
    return ""


def _first_attempt_holds(row: Any) -> bool:
    if row["first_attempt_at"] is None:
        # If lost history had begun it, the reconciler learns that from the bank, and the time is unknown. Once it is
        # archived, the entry that says so is gone.
        archived = row["archived_at"] is not None
        return bool(row["attempts"] == 0 or archived or _begun_by(row) == "reconciler")
    return row["attempts"] >= 1 and _is_within(row, row["first_attempt_at"])


def _is_within(row: Any, instant: datetime) -> bool:
    return _at(row["created_at"]) <= _at(instant) <= _at(row["updated_at"])


def _at(instant: Any) -> datetime:
    """Return the instant, or the earliest possible one if it is unknown.

    For infinite instants asyncpg returns the first or the last of the calendar, without a zone.
    """
    found: datetime = instant or _EVER
    return found if found.tzinfo else found.replace(tzinfo=UTC)

"""Response models of `/operator`, and how they are made from what the database says."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from db.heartbeats import Heartbeat
from db.operator_reads import (
    Action,
    ActionOnOne,
    AttemptRow,
    AttentionSum,
    Books,
    Oldest,
    OpenSum,
    Overview,
    Proposal,
    WithdrawalInFull,
    timeline_of,
)
from db.reads import HistoryEntry, WithdrawalView
from db.stack import StackState
from gateway.contract.response_models import Withdrawal
from gateway.contract.responses import withdrawal_of
from gateway.contract.user_ids import UserIds

SILENT_S = 10.0
"""A process that has not reported for so long is frozen or gone."""


class Payouts(msgspec.Struct):
    """`ok`, `paused` (by whom, why, since when) or `waiting` until history is known to be whole."""

    status: str
    by: str | None
    reason: str | None
    since: datetime | None
    history_lost_at: datetime | None


class Minute(msgspec.Struct):
    """What all processes did within a minute: by its name, how often and how many seconds that took in all."""

    minute: datetime
    done: dict[str, tuple[int, float]]


class Now(msgspec.Struct):
    """How everything stands."""

    at: datetime
    payouts: Payouts
    open: list[dict[str, Any]]
    is_complete: bool
    """False: the sums are over the oldest 10,000 of each status, so there is at least so much."""
    attention: list[dict[str, Any]]
    oldest: dict[str, dict[str, Any] | None]
    outbox: dict[str, Any]
    activity: list[Minute]
    processes: dict[str, int]
    """How many of each kind have reported lately."""
    actions: list[dict[str, Any]]


class Step(msgspec.Struct):
    """One thing that happened to a withdrawal: `kind` is `state`, `attempt` (a round of bank calls) or `action`."""

    at: datetime
    kind: str
    what: str
    """The state, the outcome of the round, or what an operator did."""
    text: str | None
    by: str | None
    number: int | None
    took_ms: int | None


class OneWithdrawal(msgspec.Struct):
    """A withdrawal, all that happened to it, and the settlement by hand that waits for a second person."""

    withdrawal: Withdrawal
    next_attempt_at: datetime
    timeline: list[Step]
    proposal: dict[str, Any] | None
    request_id: str | None
    """Of the request that it was made by: all logs have it."""
    trace_id: str | None


class Process(msgspec.Struct):
    """A process as it last reported."""

    kind: str
    instance: str
    status: str
    """`ok`, `trouble` (which it names), `silent` (frozen or killed) or `stopped` (it was told to)."""
    age_s: float
    trouble: str | None
    version: str | None
    started_at: datetime | None
    memory_mb: float | None
    lag_ms: int | None
    says: dict[str, Any]


class BankBooks(msgspec.Struct):
    """How far the bank's books are read and compared, what the processes say of the bank, and the differences."""

    read_up_to: str | None
    bank_prefix: str
    look_ups: int
    said: dict[str, str]
    discrepancies: list[dict[str, Any]]


class Listed(msgspec.Struct):
    """A page of withdrawals, each with how it was found, if it was by its name."""

    items: list[Withdrawal]
    next_cursor: str | None
    found_by: dict[UUID, str] = {}
    is_user: bool = False


class DeadLetters(msgspec.Struct):
    """Withdrawals that require attention, the oldest first; why, in all; settlements that wait for a second person."""

    reasons: list[dict[str, Any]]
    items: list[Withdrawal]
    next_cursor: str | None
    proposals: list[dict[str, Any]]


def payouts_of(state: StackState) -> Payouts:
    """Return whether payouts go on."""
    status = "paused" if state.paused_at is not None else "ok" if state.allowed else "waiting"
    return Payouts(status, state.paused_by, state.paused_reason, state.paused_at, state.history_lost_at)


def now_of(overview: Overview, at: datetime) -> Now:
    """Return how everything stands."""
    minutes: dict[datetime, Minute] = {}
    for minute, what, number, seconds in overview.activity:
        minutes.setdefault(minute, Minute(minute, {})).done[what] = number, round(seconds, 4)
    oldest = {("with_the_bank" if one.with_the_bank else "waiting"): plain(one) for one in overview.oldest}
    running: dict[str, int] = {}
    for beat in overview.heartbeats:
        if beat.age_s <= SILENT_S and "stopped" not in beat.detail:
            running[beat.kind] = running.get(beat.kind, 0) + 1
    return Now(
        at,
        payouts_of(overview.stack),
        [plain(sum_) for sum_ in overview.open],
        overview.is_complete,
        [plain(sum_) for sum_ in overview.attention],
        {"waiting": oldest.get("waiting"), "with_the_bank": oldest.get("with_the_bank")},
        plain(overview.outbox),
        list(minutes.values()),
        running,
        [plain(action) for action in overview.actions],
    )


def one_withdrawal_of(found: WithdrawalInFull, user_ids: UserIds) -> OneWithdrawal:
    """Return a withdrawal with all that happened to it."""
    numbers = {id(entry): place for place, entry in enumerate(found.view.history, 1)}
    steps = [
        _step(at, kind, entry, found.lengths.get(numbers.get(id(entry), 0)))
        for at, kind, entry in timeline_of(found)
    ]
    return OneWithdrawal(
        withdrawal_of(found.view, user_ids),
        found.view.next_attempt_at,
        steps,
        None if found.proposal is None else plain(found.proposal),
        found.request_id,
        None if found.traceparent is None else found.traceparent[3:35],
    )


def _step(
    at: datetime, kind: str, entry: HistoryEntry | AttemptRow | ActionOnOne, took_ms: int | None
) -> Step:
    if isinstance(entry, AttemptRow):
        return Step(at, kind, entry.outcome, entry.said, "actor", entry.number, entry.took_ms)
    if isinstance(entry, ActionOnOne):
        return Step(at, kind, entry.action, entry.reason, entry.made_by, None, None)
    return Step(at, kind, entry.status, entry.reason, entry.by, None, took_ms)


def processes_of(beats: Iterable[Heartbeat]) -> list[Process]:
    """Return the processes that reported within ten minutes, by kind and name."""
    return [_process(beat) for beat in sorted(beats, key=lambda beat: (beat.kind, beat.instance))]


def _process(beat: Heartbeat) -> Process:
    facts = beat.detail.get("process", {})
    trouble = beat.detail.get("trouble")
    started_at = facts.get("started_at")
    return Process(
        beat.kind,
        beat.instance,
        _status(beat),
        round(beat.age_s, 1),
        trouble,
        facts.get("version"),
        None if started_at is None else datetime.fromisoformat(started_at),
        facts.get("memory_mb"),
        facts.get("lag_ms"),
        {name: value for name, value in beat.detail.items() if name not in ("process", "trouble", "stopped")},
    )


def _status(beat: Heartbeat) -> str:
    if "stopped" in beat.detail:
        return "stopped"
    if beat.age_s > SILENT_S:
        return "silent"
    return "trouble" if "trouble" in beat.detail else "ok"


def bank_of(books: Books, beats: Iterable[Heartbeat]) -> BankBooks:
    """Return how the bank's books compare with ours, and the bank as our processes see it."""
    said = {
        f"{beat.kind} {beat.instance}": str(beat.detail["bank"])
        for beat in beats
        if "bank" in beat.detail and beat.age_s <= SILENT_S
    }
    return BankBooks(
        books.read_up_to,
        books.bank_prefix,
        books.look_ups,
        said,
        [plain(difference) for difference in books.discrepancies],
    )


def plain(row: OpenSum | AttentionSum | Oldest | Action | Proposal | Any) -> dict[str, Any]:
    """Return the fields of a row."""
    fields: dict[str, Any] = row._asdict()
    return fields


def withdrawals_of(views: Iterable[WithdrawalView], user_ids: UserIds) -> list[Withdrawal]:
    """Return withdrawals as they are now."""
    return [withdrawal_of(view, user_ids) for view in views]


def before(seconds: float) -> datetime:
    """Return the instant so many seconds ago, by this machine's clock."""
    return datetime.now(UTC) - timedelta(seconds=seconds)

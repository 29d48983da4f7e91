"""What operators ask: how everything stands, what requires attention, one withdrawal's rounds, who did what.

Each question costs the same however long the history and the backlog are: it reads up to a number of rows, and says so
if there are more.
"""

import asyncio
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from db import stack
from db.connections import Reader
from db.heartbeats import Heartbeat, heartbeats
from db.reads import HistoryEntry, WithdrawalView, withdrawal
from db.sql import load
from db.stack import StackState
from db.strict import one, whole

_SQL = load("operator")

SUMMED_MAX = 10_000
"""Open withdrawals of each status that sums are over, the oldest ones: sums over more are at least so much."""

OLDEST_LOOKED_AT_MAX = 1_000
"""Open withdrawals of each status among which the oldest is sought that the bank has not accepted."""

DISCREPANCIES_MAX = 100
ACTIONS_MAX = 50
LOCKS_MAX = 100
ACTIVITY_MINUTES = 61


class OpenSum(NamedTuple):
    """Open withdrawals of one status in one currency; `amount` in minor units."""

    status: str
    currency: str
    withdrawals: int
    amount: int
    oldest_at: datetime


class AttentionSum(NamedTuple):
    """Withdrawals that require attention for one reason, in one currency."""

    failure_code: str | None
    currency: str
    withdrawals: int
    amount: int
    since_first: datetime
    since_last: datetime


class Oldest(NamedTuple):
    """The withdrawal that has waited longest, of those that the bank has accepted or of the others."""

    with_the_bank: bool
    id: UUID
    created_at: datetime


class Backlog(NamedTuple):
    """Messages that no relay has published yet. `messages` is at most SUMMED_MAX."""

    messages: int
    age_s: float


class Activity(NamedTuple):
    """What all processes together did within a minute: how often, and how many seconds it took in all."""

    minute: datetime
    what: str
    number: int
    seconds: float


class Action(NamedTuple):
    """What an operator did. `withdrawals` is the number of withdrawals; `withdrawal_id` names a single one."""

    id: int
    at: datetime
    made_by: str
    action: str
    withdrawal_id: UUID | None
    reason: str | None
    withdrawals: int


class Overview(NamedTuple):
    """How everything stands."""

    stack: StackState
    open: list[OpenSum]
    attention: list[AttentionSum]
    oldest: list[Oldest]
    outbox: Backlog
    activity: list[Activity]
    heartbeats: list[Heartbeat]
    actions: list[Action]

    @property
    def is_complete(self) -> bool:
        """Whether the sums are over all open withdrawals, and not only over the oldest of each status."""
        counts: dict[str, int] = {}
        for sum_ in self.open:
            counts[sum_.status] = counts.get(sum_.status, 0) + sum_.withdrawals
        return all(count < SUMMED_MAX for count in counts.values())


class AttemptRow(NamedTuple):
    """One round of bank calls: its number, end and length, and what the bank said."""

    number: int
    ended_at: datetime
    took_ms: int
    outcome: str
    said: str | None


class ActionOnOne(NamedTuple):
    """What an operator did to one withdrawal."""

    at: datetime
    made_by: str
    action: str
    reason: str | None


class Proposal(NamedTuple):
    """A settlement by hand that waits for a second person."""

    withdrawal_id: UUID
    outcome: str
    bank_reference: str | None
    reason: str
    proposed_by: str
    proposed_at: datetime


class WithdrawalInFull(NamedTuple):
    """A withdrawal with everything that is known of it."""

    view: WithdrawalView
    attempts: list[AttemptRow]
    lengths: dict[int, int]
    """Milliseconds of the round that led to an entry of the history, by the entry's number (from 1)."""
    actions: list[ActionOnOne]
    proposal: Proposal | None
    request_id: str | None
    """Of the request that it was made by; None in rows from before requests were kept."""
    traceparent: str | None


class Discrepancy(NamedTuple):
    """A difference between the bank's books and ours."""

    kind: str
    reference: str
    bank: str
    ours: str | None
    first_seen_at: datetime
    last_seen_at: datetime


class Lock(NamedTuple):
    """Money of a charge that is locked until `release_at`, in minor units."""

    charge_id: UUID
    release_at: datetime
    amount: int


class Books(NamedTuple):
    """How far the bank's books are read and compared, and where they differ."""

    read_up_to: str | None
    bank_prefix: str
    look_ups: int
    discrepancies: list[Discrepancy]


async def overview(reader: Reader) -> Overview:
    """Return how everything stands. Raises Unavailable."""
    (state, attention, beats), (open_, oldest, backlog, activity, actions) = await asyncio.gather(
        asyncio.gather(stack.look(reader), attention_sums(reader), heartbeats(reader)),
        asyncio.gather(
            reader.fetch(_SQL["open_sums"], SUMMED_MAX),
            reader.fetch(_SQL["oldest_open"], OLDEST_LOOKED_AT_MAX),
            reader.fetch(_SQL["outbox"], SUMMED_MAX),
            reader.fetch(_SQL["activity"], ACTIVITY_MINUTES),
            reader.fetch(_SQL["last_actions"], ACTIONS_MAX),
        ),
    )
    return Overview(
        state,
        [OpenSum(*whole(row)) for row in open_],
        attention,
        [Oldest(*whole(row)) for row in oldest],
        Backlog(*one(backlog)),
        [Activity(*whole(row)) for row in activity],
        beats,
        [Action(*whole(row, ("withdrawal_id", "reason"))) for row in actions],
    )


async def attention_sums(reader: Reader) -> list[AttentionSum]:
    """Return why withdrawals require attention, the most frequent reason first. Raises Unavailable."""
    rows = await reader.fetch(_SQL["attention_sums"], SUMMED_MAX)
    return [AttentionSum(*whole(row, ("failure_code",))) for row in rows]


async def withdrawal_in_full(reader: Reader, id: UUID) -> WithdrawalInFull:
    """Return a withdrawal with its rounds of bank calls. Raises WithdrawalNotFound, Unavailable."""
    (view, proposals_), (attempts, lengths, actions, requests) = await asyncio.gather(
        asyncio.gather(withdrawal(reader, id), proposals(reader, [id])),
        asyncio.gather(
            reader.fetch(_SQL["attempts"], id),
            reader.fetch(_SQL["lengths"], id),
            reader.fetch(_SQL["actions_of"], id),
            reader.fetch(_SQL["request_of"], id),
        ),
    )
    return WithdrawalInFull(
        view,
        [AttemptRow(*whole(row, ("said",))) for row in attempts],
        {row["seq"]: row["took_ms"] for row in map(whole, lengths)},
        [ActionOnOne(*whole(row, ("reason",))) for row in actions],
        proposals_.get(id),
        *one(requests, ("request_id", "traceparent")),
    )


async def proposals(reader: Reader, ids: list[UUID]) -> dict[UUID, Proposal]:
    """Return the settlements that wait for a second person, by withdrawal. Raises Unavailable."""
    rows = await reader.fetch(_SQL["proposals"], ids)
    return {row["withdrawal_id"]: Proposal(*whole(row, ("bank_reference",))) for row in rows}


async def books(reader: Reader) -> Books:
    """Return how the bank's books compare with ours. Raises Unavailable."""
    read, differing = await asyncio.gather(
        reader.fetch(_SQL["books"]), reader.fetch(_SQL["discrepancies"], DISCREPANCIES_MAX)
    )
    row = one(read, ("read_up_to",))
    discrepancies = [Discrepancy(*whole(each, ("ours",))) for each in differing]
    return Books(row["read_up_to"], row["bank_prefix"], row["look_ups"], discrepancies)


async def locks(reader: Reader, user_id: str, currency: str) -> list[Lock]:
    """Return the locks of a wallet, the soonest first, LOCKS_MAX at most. Raises Unavailable."""
    return [Lock(*whole(row)) for row in await reader.fetch(_SQL["locks"], user_id, currency, LOCKS_MAX)]


def timeline_of(
    found: WithdrawalInFull,
) -> list[tuple[datetime, str, HistoryEntry | AttemptRow | ActionOnOne]]:
    """Return all that happened to a withdrawal, in the order of time, each with its kind: state, attempt, action."""
    entries: list[tuple[datetime, str, HistoryEntry | AttemptRow | ActionOnOne]] = [
        *((entry.at, "state", entry) for entry in found.view.history),
        *((attempt.ended_at, "attempt", attempt) for attempt in found.attempts),
        *((action.at, "action", action) for action in found.actions),
    ]
    return sorted(entries, key=lambda entry: entry[0])

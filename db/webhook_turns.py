"""Deliveries to webhook endpoints: their turns, how far each has got, and which of them have something to do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from db.connections import Reader
from db.sql import load
from db.strict import at_most_one, one, rows_of, whole
from db.webhooks import Delivery, secrets_of

_SQL = load("webhooks")

LEASE = timedelta(seconds=15)
"""A turn that was not renewed for this long is over."""
RUNG_FOR = timedelta(seconds=10)
"""Time that an endpoint's message may take to reach the actors."""
DELIVERIES_KEPT = 1_000


class Patience(NamedTuple):
    """How often and for how long to try."""

    first_pause: timedelta = timedelta(seconds=1)
    """After a call without an answer; then twice as long each time."""
    longest_pause: timedelta = timedelta(hours=1)
    give_up_after: timedelta = timedelta(days=3)
    parked_pause: timedelta = timedelta(minutes=1)
    """After an event was parked; then twice as long each time."""
    quick_pauses_s: tuple[float, ...] = (0.2, 1.0)
    """Before each further try of an event that was refused, until it is parked."""

    def parked_for(self, attempts: int) -> timedelta:
        """Return how long an event waits after so many refusals."""
        tries = len(self.quick_pauses_s) + 1
        doubled = int(2 ** min(max(attempts - tries, 0), 20))
        return min(self.longest_pause, self.parked_pause * doubled)


class Taken(NamedTuple):
    """What a turn needs to know of its endpoint."""

    url: str
    types: list[str] | None
    user_prefix: str | None
    delivered_seq: int
    failures: int
    secrets: tuple[str, ...]


class Due(NamedTuple):
    """An event that is delivered on its own, out of order. `is_last`: it is not tried again."""

    seq: int
    attempts: int
    is_last: bool


@dataclass(slots=True)
class Progress:
    """What a turn has done since it was last written down."""

    deliveries: list[Delivery] = field(default_factory=list)
    put_off: list[tuple[int, int, timedelta]] = field(default_factory=list)
    """An event's number, the calls made about it, and how long it waits now."""
    done: list[int] = field(default_factory=list)
    """Numbers of events that no longer wait."""
    failed: bool | None = None
    """Whether the last call had no answer; None if it was refused, or if there was no call."""
    disabled_reason: str | None = None


async def take(reader: Reader, id: UUID, turn: UUID) -> Taken | None:
    """Take the turn of an endpoint; return None if it is taken, or there is nothing to do. Raises Unavailable."""
    rows = await reader.fetch(_SQL["take"], id, turn, LEASE)
    row = at_most_one(rows, ("types", "user_prefix", "old_secret"))
    if row is None:
        return None
    return Taken(
        row["url"],
        row["types"],
        row["user_prefix"],
        row["delivered_seq"],
        row["failures"],
        secrets_of(row),
    )


async def due(reader: Reader, id: UUID, give_up_after: timedelta, limit: int) -> list[Due]:
    """Return the events that wait on their own and are due, in order of the sequence. Raises Unavailable."""
    return [Due(*whole(row)) for row in await reader.fetch(_SQL["due"], id, give_up_after, limit)]


async def parked(reader: Reader, id: UUID) -> int:
    """Return how many events of an endpoint were refused and wait. Raises Unavailable."""
    count: int = one(await reader.fetch(_SQL["parked"], id))["parked"]
    return count


async def write_down(
    reader: Reader, id: UUID, turn: UUID, before: int, now: int, progress: Progress, patience: Patience
) -> str | None:
    """Record what a turn has done, and renew it; return the endpoint's status.

    None if another process has the turn by now, or if the position was moved: then only the calls were recorded.
    Raises Unavailable.
    """
    calls = list(zip(*progress.deliveries, strict=True)) or [()] * len(Delivery._fields)
    waits = list(zip(*progress.put_off, strict=True)) or [()] * 3
    rows = await reader.fetch(
        _SQL["progress"],
        id,
        turn,
        before,
        now,
        progress.failed,
        patience.first_pause,
        progress.disabled_reason,
        patience.give_up_after,
        LEASE,
        *map(list, calls),
        *map(list, waits),
        progress.done,
        patience.longest_pause,
    )
    row = at_most_one(rows, ("disabled_reason",))
    return None if row is None else row["status"]


async def give_back(reader: Reader, id: UUID, turn: UUID) -> None:
    """End a turn, and forget calls that are too old. Raises Unavailable."""
    await reader.fetch(_SQL["give_back"], id, turn)
    await reader.fetch(_SQL["forget"], id, DELIVERIES_KEPT)


async def ring(connection: Any) -> int:
    """Put the endpoints with something to do into the outbox, for the relay to tell the actors; return how many."""
    told = rows_of(await connection.execute(_SQL["ring"], RUNG_FOR), "INSERT 0")
    if told:
        await connection.execute("notify outbox")
    return told


async def needed_from(connection: Any) -> int | None:
    """Return the number up to which every enabled endpoint has its events; None if there is no endpoint."""
    row = one(await connection.fetch(_SQL["needed"]), ("delivered_seq",))
    needed: int | None = row["delivered_seq"]
    return needed


async def are_waiting(connection: Any) -> bool:
    """Return whether the actors have to be told about endpoints."""
    return bool(one(await connection.fetch(_SQL["are_waiting"]))["are_waiting"])


async def claim(connection: Any, limit: int) -> list[UUID]:
    """Return endpoints to tell the actors about. They are this relay's until its transaction ends."""
    return [row["endpoint_id"] for row in await connection.fetch(_SQL["claim"], limit)]


async def told(connection: Any, ids: Sequence[UUID]) -> None:
    """Remove what RabbitMQ has confirmed from the outbox."""
    await connection.execute(_SQL["told"], list(ids))

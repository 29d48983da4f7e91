"""This stack as one row: whether payouts are paused, and which server they are made from.

Each of the functions takes a connection, a `db.connections.Reader`, or whatever else has a `fetch` like theirs.
"""

from datetime import datetime
from typing import Any, NamedTuple, Protocol

import asyncpg

from db.sql import load
from db.strict import at_most_one, one

_SQL = load("stack")
_NULLABLE = ("paused_at", "paused_by", "paused_reason", "history_lost_at")

ITSELF = "wbs"
"""Who paused payouts, where no operator did."""

TIMELINE = "another timeline"
"""How the reason begins that may turn out to be none: a standby was promoted, perhaps with nothing lost."""


class Session(Protocol):
    """What can run a statement."""

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """Return the rows."""


class Server(NamedTuple):
    """Which server a database runs on. None where that may not be known to us."""

    system_identifier: int | None
    timeline: int | None


class StackState(NamedTuple):
    """What is written down of this stack, compared with the server that it was read from."""

    allowed: bool
    """Whether the bank may be asked to pay."""
    paused_at: datetime | None
    paused_by: str | None
    paused_reason: str | None
    history_lost_at: datetime | None
    bank_prefix: str
    """What the references for the bank begin with."""
    written_down: bool
    same_run: bool
    """The server was not started again since its history was known to be whole."""
    same_timeline: bool
    same_database: bool

    @property
    def standing(self) -> str:
        """Return how payouts stand, for people: `ok`, `paused: …` or `waiting: …`."""
        if self.paused_at is not None:
            return f"paused: {self.paused_reason}"
        return "ok" if self.allowed else "waiting: is our history whole? the bank's books are being read"


async def server(session: Session) -> Server:
    """Return which server this is. A role that may not know it gets Nones: only the bank's books tell then."""
    try:
        return Server(*one(await session.fetch(_SQL["server"])))
    except asyncpg.InsufficientPrivilegeError:
        return Server(None, None)


async def look(session: Session, here: Server | None = None) -> StackState:
    """Return the state; without `here` nothing is said about the server."""
    system_identifier, timeline = here or (None, None)
    return StackState(*one(await session.fetch(_SQL["look"], timeline, system_identifier), _NULLABLE))


async def write_down(session: Session, here: Server, *, whole: bool) -> None:
    """Remember this server as the one that payouts are made from; `whole`: its history is known to be whole."""
    one(await session.fetch(_SQL["write_down"], here.timeline, here.system_identifier, whole))


async def pause(session: Session, by: str, reason: str) -> None:
    """Pause payouts, as an operator."""
    one(await session.fetch(_SQL["pause"], by, reason))


async def pause_by_itself(session: Session, reason: str, *, history_lost: bool = False) -> None:
    """Pause payouts, unless an operator did; `history_lost`: the bank may know more than we do."""
    one(await session.fetch(_SQL["pause_by_itself"], ITSELF, reason, TIMELINE + "%", history_lost))


async def resume(session: Session) -> bool:
    """Let payouts go on, on this server as it is. Returns False if they were not paused."""
    here = await server(session)
    if here.system_identifier is not None:
        await write_down(session, here, whole=True)
    return bool(at_most_one(await session.fetch(_SQL["resume"])))


async def resume_by_itself(session: Session) -> bool:
    """Let payouts go on that were paused because of the timeline alone. Returns whether they were."""
    return bool(at_most_one(await session.fetch(_SQL["resume_by_itself"], ITSELF, TIMELINE + "%")))

"""The state of this stack, which is one row: whether payouts are paused, and the server that they are made from.

Each of the functions takes a connection, a `db.connections.Reader`, or any other object with a `fetch` like theirs.
"""

from datetime import datetime
from typing import Any, NamedTuple, Protocol

import asyncpg

from db.sql import load
from db.strict import at_most_one, one

_SQL = load("stack")
_NULLABLE = ("paused_at", "paused_by", "paused_reason", "history_lost_at")

ITSELF = "wbs"
"""The author of a pause that no operator made."""

TIMELINE = "another timeline"
"""Start of the reason that may turn out to be harmless: a standby was promoted, perhaps with nothing lost."""

_BEFORE = "; some was lost before"
"""End of that reason where it is no matter of doubt that the bank may know more than we do."""


class Session(Protocol):
    """An object that can run a statement."""

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """Return the rows."""


class Server(NamedTuple):
    """The identity of a database's server. The values are None if our role may not read them."""

    system_identifier: int | None
    timeline: int | None


class StackState(NamedTuple):
    """The recorded state of this stack, compared with the server that it was read from."""

    allowed: bool
    """True if the bank may be asked to pay."""
    paused_at: datetime | None
    paused_by: str | None
    paused_reason: str | None
    history_lost_at: datetime | None
    bank_prefix: str
    """The prefix of the references for the bank."""
    written_down: bool
    same_run: bool
    """True if the server has not restarted since its history was known to be whole."""
    same_timeline: bool
    same_database: bool

    @property
    def standing(self) -> str:
        """The state of payouts, for people: `ok`, `paused: …` or `waiting: …`."""
        if self.paused_at is not None:
            return f"paused: {self.paused_reason}"
        return "ok" if self.allowed else "waiting: is our history whole? the bank's books are being read"


async def server(session: Session) -> Server:
    """Return the server's identity, or Nones if our role may not read it: then only the bank's books show a loss."""
    try:
        return Server(*one(await session.fetch(_SQL["server"])))
    except asyncpg.InsufficientPrivilegeError:
        return Server(None, None)


async def look(session: Session, here: Server | None = None) -> StackState:
    """Return the state. Without `here`, it says nothing about the server's identity."""
    system_identifier, timeline = here or (None, None)
    return StackState(*one(await session.fetch(_SQL["look"], timeline, system_identifier), _NULLABLE))


async def write_down(session: Session, here: Server, *, whole: bool) -> None:
    """Record this server as the one that payouts are made from; `whole` means that its history is known to be whole."""
    one(await session.fetch(_SQL["write_down"], here.timeline, here.system_identifier, whole))


async def pause(session: Session, by: str, reason: str) -> None:
    """Pause payouts on behalf of an operator."""
    one(await session.fetch(_SQL["pause"], by, reason))


async def pause_by_itself(
    session: Session, reason: str, *, history_lost: bool = False, just_now: bool = True
) -> None:
    """Pause payouts, unless an operator did.

    `history_lost` means that the bank may know more than we do. If that did not happen `just_now`, what was looked up
    since it was first noticed in this pause is known.
    """
    lost = (history_lost, just_now, _BEFORE)
    one(await session.fetch(_SQL["pause_by_itself"], ITSELF, reason, TIMELINE + "%", *lost))


async def resume(session: Session) -> bool:
    """Resume payouts, on this server as it is. Return False if they were not paused."""
    here = await server(session)
    if here.system_identifier is not None:
        await write_down(session, here, whole=True)
    return bool(at_most_one(await session.fetch(_SQL["resume"])))


async def resume_by_itself(session: Session) -> bool:
    """Resume payouts if they were paused only because of the timeline. Return whether they were."""
    return bool(at_most_one(await session.fetch(_SQL["resume_by_itself"], ITSELF, TIMELINE + "%", _BEFORE)))

"""Positions in a wallet's statement: between two of its entries, in the order in which they count.

Most entries count from when their row was written. The release of a lock and the expiry of a hold count from an earlier
instant, whether or not the row is written: they are known by what they end, and so is their entry. Its identifier is
that of the charge, receive or hold, with the version 8 in place of 7. Within an instant it comes right after that.
"""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from wallet.ids import first_id_of, instant_of

_VERSION_SHIFT = 76
_FIRST_ID = UUID(int=0)
_LAST_ID = UUID(int=2**128 - 1)


class Position(NamedTuple):
    """A place between entries."""

    row: UUID
    """Before it are the rows with lesser identifiers."""
    at: datetime
    source: UUID
    """Before it is what counts earlier than `at`, or at that instant and ends something with a lesser identifier."""


def position_at(instant: datetime) -> Position:
    """Return the position before all that counts at this instant."""
    return Position(first_id_of(instant), instant, _FIRST_ID)


def position_after(entry: UUID, at: datetime) -> Position:
    """Return the position right after an entry that counts from `at`."""
    if entry.version == 8:
        after_source = _next(source_of(entry))
        return Position(max(first_id_of(at), after_source), at, after_source)
    return Position(_next(entry), instant_of(entry), entry)


def entry_of_end(source: UUID) -> UUID:
    """Return the identifier of the entry that says that a lock was released, or that a hold has expired."""
    return UUID(int=source.int ^ (0x7 ^ 0x8) << _VERSION_SHIFT)


def source_of(entry: UUID) -> UUID:
    """Return the charge, receive or hold whose end this entry says."""
    return UUID(int=entry.int ^ (0x7 ^ 0x8) << _VERSION_SHIFT)


def _next(id: UUID) -> UUID:
    return _LAST_ID if id == _LAST_ID else UUID(int=id.int + 1)

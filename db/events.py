"""The sequence of events: numbering it, by one courier at a time, and reading it.

A batch leaves one row in event_batches, written by triggers in the money's own transaction. Numbering moves the rows
that are committed into `events`, in the order of their identifiers. Two couriers at once do no harm: the lock on
event_sequence lets them in one by one, and a unique key gives each batch one number.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from db.connections import Reader, transaction
from db.event_objects import event_of
from db.sql import load
from db.stack import Server
from db.strict import at_most_one, one, require, rows_of
from wallet.errors import EventsGone
from wallet.events import Event
from wallet.user_ids import Spelling, as_text

_SQL = load("events")

BATCHES_MAX = 500
"""Number of batches that are numbered in one transaction."""
LOOKED_AT_MAX = 5_000
"""Number of events that a page looks at, whether or not they match its filters."""
FORGOTTEN_MAX = 1_000
"""Rows of old events that are removed in one transaction."""


class Numbered(NamedTuple):
    """What one transaction has numbered."""

    batches: int
    last_id: int
    """The greatest identifier of these batches; 0 if there were none."""
    last_seq: int
    age_s: float
    """Seconds that the oldest of the batches has waited."""
    epoch: UUID
    waits_for_standby: bool
    """Whether commits wait for a standby: if that is promoted, it has them all."""


class Span(NamedTuple):
    """What can be read: the present epoch, and its first, oldest kept and last numbers."""

    epoch: UUID
    first_seq: int
    last_seq: int
    oldest_seq: int


class EventPage(NamedTuple):
    """Events in order, and the last number that was searched: the next page begins after it."""

    events: list[Event]
    looked_to: int
    is_next: bool = True
    """Whether it begins where it was asked to: no event in between is gone, and no other epoch has begun."""


async def number_batches(connection: Any, types: Sequence[str] | None, from_id: int = 0) -> Numbered:
    """Give numbers to waiting batches from an identifier on, in one transaction; events of other types get none.

    Raises the connection's errors; then nothing was numbered, or (if it broke in the commit) perhaps all was.
    """
    # Most of the time there is nothing to do, and a transaction that locks has to be written to the disk.
    idle = one(await connection.fetch(_SQL["anything"], from_id))
    if not idle["anything"]:
        return Numbered(0, 0, idle["last_seq"], 0.0, idle["epoch"], idle["waits_for_standby"])
    async with transaction(connection):
        sequence = one(await connection.fetch(_SQL["sequence"]))
        rows = await connection.fetch(_SQL["number"], from_id, BATCHES_MAX, sequence["last_seq"], types)
        done = one(rows, ("last_id",))
        require(done["rows"] == done["told"], "events were not numbered as told")
    return Numbered(
        done["batches"],
        done["last_id"] or 0,
        done["last_seq"],
        done["age_s"],
        sequence["epoch"],
        sequence["waits_for_standby"],
    )


async def waiting(connection: Any, from_id: int = 0, limit: int = 10_000) -> tuple[int, float]:
    """Return the number of batches that wait for their number, up to `limit`, and the age of the oldest in seconds."""
    row = one(await connection.fetch(_SQL["waiting"], from_id, limit))
    return row["batches"], row["age_s"]


async def make_kinds(connection: Any, kinds: Collection[str]) -> None:
    """Write down which kinds of events are made from now on."""
    one(await connection.fetch(_SQL["make_kinds"], sorted(kinds)))


async def guard_epoch(
    connection: Any, here: Server, known_seq: int, known_epoch: UUID | None = None
) -> str | None:
    """Begin another epoch if history may have been lost; return why, or None if all is as it was.

    `known_seq` is the greatest number that this courier has seen committed; `known_epoch` its epoch, if that commit has
    waited for a standby. Then another timeline that has this number has every event that was ever told.
    """
    row = one(
        await connection.fetch(_SQL["identity"], here.timeline, here.system_identifier), ("lost_since",)
    )
    reason = None
    is_known = row["epoch"] == known_epoch and row["last_seq"] >= known_seq > 0
    if row["written_down"] and not row["same_database"]:
        reason = "the database is another one"
    elif row["written_down"] and not row["same_history"] and not is_known:
        reason = "another timeline, and commits wait for no standby"
    elif row["last_seq"] < known_seq:
        reason = "numbers that were committed are not there any more"
    elif row["lost_since"]:
        reason = "the bank knew of payouts that are not there any more"
    if reason is not None:
        at_most_one(await connection.fetch(_SQL["begin_epoch"], reason, row["epoch"]))
    if reason is not None or not row["written_down"] or not row["same_history"]:
        one(await connection.fetch(_SQL["write_down"], here.timeline, here.system_identifier))
    return reason


async def forget(connection: Any, older_than: timedelta, delivered_to: int) -> int:
    """Remove some of the oldest events, none after the number `delivered_to`; return the number of rows removed."""
    tag = await connection.execute(_SQL["forget"], older_than, FORGOTTEN_MAX, delivered_to)
    return rows_of(tag, "DELETE")


async def span(reader: Reader) -> Span:
    """Return what can be read. Raises Unavailable."""
    return Span(*one(await reader.fetch(_SQL["span"])))


async def page(
    reader: Reader,
    after: int,
    limit: int,
    *,
    types: Sequence[str] | None = None,
    user_id: str | None = None,
    user_prefix: str | None = None,
    spell: Spelling = as_text,
) -> EventPage:
    """Return up to `limit` events after a number, those of one user, of users of a prefix, or of all.

    With a prefix, every user of an event must have it. Removed events and those of other epochs are passed over, which
    `is_next` tells; `check_position` refuses such a number, but they may be removed after that. Raises Unavailable.
    """
    rows = await reader.fetch(_SQL["page"], after, LOOKED_AT_MAX, limit, types, user_id, user_prefix)
    require(bool(rows) and rows[0]["looked_to"] is not None, "not even how far was looked")
    found = [event_of(row, spell) for row in rows if row["seq"] is not None]
    events = [
        event
        for event in found
        if (user_id is None or user_id in event.user_ids)
        and all(user.startswith(user_prefix or "") for user in event.user_ids)
    ]
    looked_to = found[-1].seq if len(found) == limit else rows[0]["looked_to"]
    return EventPage(events, looked_to, rows[0]["is_next"])


def events_gone(span: Span) -> EventsGone:
    """Return the refusal of a position that can't be read, with those that can."""
    return EventsGone(str(span.epoch), span.oldest_seq, span.last_seq)


def check_position(span: Span, after: int | None, epoch: str | None = None) -> int:
    """Return the number after which to read; None means from the oldest on. Raises EventsGone."""
    is_of_now = epoch in (None, str(span.epoch))
    if after is None and is_of_now:
        return span.oldest_seq - 1
    known = after is not None and span.oldest_seq - 1 <= after <= span.last_seq
    # 0 is the beginning, whatever the first number is, as long as nothing of the epoch was removed.
    if after == 0 and is_of_now and span.oldest_seq == span.first_seq:
        return span.first_seq - 1
    if not known or not is_of_now:
        raise events_gone(span)
    assert after is not None
    return after

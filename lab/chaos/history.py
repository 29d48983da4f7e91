"""The history of a chaos run: one JSON line for each request with its answer, each fault and each finding.

The checker reads nothing else, so the file alone is enough to repeat a verdict. Times are seconds of the monotonic
clock since the run began; `Run.wall_at_0` relates them to the wall clock, which the database's timestamps use (same
machine). The file grows with the run, by some 1 kB per operation; none of it is kept in memory.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

UNKNOWN = frozenset({0, 503})
"""Statuses of a call that may have been carried out all the same; 0: no answer came."""


class Run(msgspec.Struct, frozen=True, tag="run", tag_field="line"):
    """The first line: the parameters that replay the run, and the wall clock (s since 1970) at second 0."""

    seed: int
    seconds: float
    wall_at_0: float
    consumers: tuple[str, ...] = ()
    """Who follows the sequence of events."""


class Call(msgspec.Struct, frozen=True, tag="call", tag_field="line", omit_defaults=True):
    """One HTTP call (of a bulk request, one item), from before it was sent until its answer was read."""

    op: str
    """charge, withdraw, transfer, hold, capture, reverse_charge, reverse_transfer (these have keys); void, cancel,
    balance, balance_at (its subject is an instant), transactions, withdrawal, by_key, hold_now, transfer_now,
    charge_now, find, return, health, ready, events, event_stream (what they told is in lines of its own)"""
    start: float
    end: float
    phase: str = "load"
    """load (faults are about), settle (after healing, sent again or polled), final (the last look)"""
    cell: str = ""
    """Wallets and keys stay within their cell, so that it can be checked by itself."""
    wallet: str = ""
    """`user currency`"""
    subject: str = ""
    """What the call is about: a withdrawal, hold, charge or transfer."""
    method: str = "GET"
    path: str = ""
    key: str = ""
    key_in_header: bool = False
    body: str = ""
    walk: int = 0
    """Pages of one walk through a list, cursor by cursor, share a number."""
    bulk: bool = False
    """An item of POST /charges or /transfers; `body`, `status` and `answer` are the item's own."""
    status: int = 0
    """0: no answer."""
    replayed: bool = False
    retry_after: bool = False
    answer: str = ""
    error: str = ""


class InjectedFault(msgspec.Struct, frozen=True, tag="fault", tag_field="line", omit_defaults=True):
    """A fault made on purpose."""

    action: str
    target: str
    start: float
    end: float
    detail: str = ""


class Comeback(msgspec.Struct, frozen=True, tag="comeback", tag_field="line"):
    """The time until a killed or hung process was replaced, and the time allowed (s)."""

    target: str
    killed_at: float
    seconds: float
    within_s: float = 5.0


class Mark(msgspec.Struct, frozen=True, tag="mark", tag_field="line"):
    """A moment of the run: load_ended, healed, healthy, end. `wall` is the wall clock then."""

    name: str
    at: float
    wall: float


class Trouble(msgspec.Struct, frozen=True, tag="trouble", tag_field="line"):
    """An action of the run itself that failed although it should have been possible; a violation."""

    rule: str
    at: float
    expected: str
    found: str


class BankPayout(msgspec.Struct, frozen=True, tag="payout", tag_field="line"):
    """A line of the bank's books, from its listing at the end."""

    payout_id: str
    reference: str
    amount: int
    currency: str
    status: str


class Archived(msgspec.Struct, frozen=True, tag="archived", tag_field="line", omit_defaults=True):
    """A movement that is in the files of an archive, and no longer in the books."""

    id: str
    kind: str
    """charge, send, receive, hold, reserve, release, payout …; empty: it belongs to another one."""
    wallet: str
    since: float
    """It may have left from then on."""
    before: float
    """It is older than that."""
    status: str = ""
    """Of a hold."""
    captured: int = 0


class Told(msgspec.Struct, frozen=True, tag="told", tag_field="line", omit_defaults=True):
    """One event, as a consumer of the sequence has received it."""

    consumer: str
    """stream, list, webhook"""
    at: float
    body: str
    """The same bytes as they came."""
    number: str = ""
    """The number that came beside the body, where one does (SSE's `id`)."""
    answered: int = 204
    """The status that a receiver of webhooks answered with; whether the answer arrived is not known."""


class ToldTo(msgspec.Struct, frozen=True, tag="told_to", tag_field="line"):
    """The end of what is told: each consumer had time to receive all up to this number."""

    at: float
    number: int


Record = Run | Call | InjectedFault | Comeback | Mark | Trouble | BankPayout | Archived | Told | ToldTo

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Record).decode


class HistoryWriter:
    """Appends records to the file; owns the clock of the run. For one thread."""

    def __init__(self, path: Path, seed: int, seconds: float, consumers: tuple[str, ...] = ()) -> None:
        self.path = path
        self._file: BinaryIO = path.open("wb")
        self._zero = time.monotonic()
        self.write(Run(seed, seconds, time.time(), consumers))

    def now(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._zero

    def write(self, record: Record) -> None:
        """Append one line."""
        self._file.write(_encode(record) + b"\n")

    def mark(self, name: str) -> float:
        """Record that this moment has come; return it."""
        at = self.now()
        self.write(Mark(name, at, time.time()))
        return at

    def flush(self) -> None:
        """Make everything written so far readable."""
        self._file.flush()

    def close(self) -> None:
        """End the file."""
        self._file.close()


class Line(msgspec.Struct, frozen=True):
    """A record with its place in the file: line number (from 1) and offset in bytes."""

    number: int
    offset: int
    record: Record


def read(path: Path) -> Iterator[Line]:
    """Yield the records of a history in order. Raises msgspec.ValidationError if a line is not a record."""
    offset = 0
    with path.open("rb") as file:
        for number, text in enumerate(file, 1):
            yield Line(number, offset, _decode(text))
            offset += len(text)


def read_at(file: BinaryIO, offset: int) -> Record:
    """Return the record at `offset`."""
    file.seek(offset)
    record: Record = _decode(file.readline())
    return record

"""The parsed history of one cell: the requests, their times, and the answers."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from msgspec.structs import replace

from lab.chaos.history import Archived, BankPayout, Call

CLOCK_SLACK_S = 0.01
"""Uncertainty when the database's timestamps (wall clock) are compared with ours (monotonic)."""

REFUSALS = frozenset({400, 404, 409, 413, 415, 422})
"""Answers that show for certain that this request took no effect."""


KEYED = frozenset({"charge", "withdraw", "transfer", "hold", "capture", "reverse_charge", "reverse_transfer"})
"""The operations with an idempotency key."""


class Times(NamedTuple):
    """The moments of the run, in its own seconds, and the wall clock at second 0."""

    wall_at_0: float
    load_ended: float
    healed: float
    end: float
    clock_back: tuple[tuple[float, float], ...] = ()
    """The periods in which the database's clock was behind: its timestamps are then too early."""

    def clock_was_back(self, start: float, end: float) -> bool:
        """Return whether the database's clock was behind at some moment between two seconds of the run."""
        return any(start <= until and end >= since for since, until in self.clock_back)

    def of(self, timestamp: str) -> float:
        """Return the second of the run for an RFC 3339 timestamp. Raises ValueError."""
        parsed = datetime.fromisoformat(timestamp)
        if parsed.tzinfo is None:
            raise ValueError(f"no offset: {timestamp}")
        return parsed.timestamp() - self.wall_at_0


class Asked(NamedTuple):
    """The content of a request with a key. Two requests are the same if their contents are equal."""

    op: str
    user: str
    currency: str
    amount: int
    """0: all that there is."""
    release_at: str | None
    """Of a hold, when it expires."""
    metadata: str
    destination: str = ""
    subject: str = ""
    """The hold, charge or transfer that it is about."""
    legs: tuple[tuple[str, int, str | None], ...] = ()
    """Payees, amounts and dates; of a reversal, numbers of legs and amounts."""
    reason: str = ""

    @property
    def wallet(self) -> str:
        """The wallet that is charged or pays."""
        return f"{self.user} {self.currency}"

    @property
    def dates(self) -> list[str]:
        """The instants that must be in the future."""
        return [at for at in (self.release_at, *(at for _, _, at in self.legs)) if at is not None]


class Send(NamedTuple):
    """One time that a request with a key was sent."""

    line: int
    call: Call
    asked: Asked

    @property
    def done(self) -> bool:
        """True if the answer said that the movement took effect, now or earlier."""
        return self.call.status in (200, 202)

    @property
    def refused(self) -> bool:
        """True if the answer said that the request took no effect."""
        return self.call.status in REFUSALS

    @property
    def code(self) -> str:
        """The problem's code, if it was refused."""
        answer = parse(self.call.answer)
        return str(answer.get("code", "")) if isinstance(answer, dict) else ""


class Read(NamedTuple):
    """Any other call, with its answer parsed (`call.answer` is empty)."""

    line: int
    call: Call
    answer: Any


@dataclass(slots=True)
class Cell:
    """All calls of one cell: sends by key, other calls by operation, in the order of the file."""

    name: str
    sends: dict[str, list[Send]] = field(default_factory=lambda: defaultdict(list))
    reads: dict[str, list[Read]] = field(default_factory=lambda: defaultdict(list))
    archived: Mapping[str, Archived] = field(default_factory=dict)
    """What an archive holds, by identifier, of other cells, too."""

    def take(self, line: int, call: Call) -> None:
        """Add a call."""
        if call.op in KEYED:
            self.sends[call.key].append(Send(line, call, asked(call)))
        else:
            self.reads[call.op].append(Read(line, replace(call, answer=""), parse(call.answer)))

    def archived_by(self, id: str, at: float) -> bool:
        """Return whether something may have been archived by a second of the run."""
        archived = self.archived.get(id)
        return archived is not None and archived.since <= at


class BankLine(NamedTuple):
    """A payout in the bank's books, with its line in the history."""

    line: int
    payout: BankPayout


def parse(text: str) -> Any:
    """Return the JSON value, or None if the text is not JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def canonical(value: Any) -> str:
    """Return JSON text that is the same for equal values."""
    return json.dumps(value, sort_keys=True)


def asked(call: Call, default_currency: str = "USD") -> Asked:
    """Return the content of a recorded request. Raises KeyError if it is none with a key."""
    body = json.loads(call.body)
    if call.op in ("capture", "reverse_charge", "reverse_transfer"):
        return _asked_about(call, body)
    legs = _legs(body) if call.op == "transfer" else ()
    return Asked(
        call.op,
        str(body["from_user_id" if call.op == "transfer" else "user_id"]),
        body.get("currency") or default_currency,
        sum(amount for _, amount, _ in legs) or body["amount"],
        None if legs else body.get("expires_at" if call.op == "hold" else "release_at"),
        canonical(body.get("metadata")),
        canonical(body.get("destination")),
        legs=legs,
    )


def _asked_about(call: Call, body: dict[str, Any]) -> Asked:
    payee, amount, at = str(body.get("to_user_id", "")), body.get("amount", 0), body.get("release_at")
    legs: tuple[tuple[str, int, str | None], ...]
    if call.op == "reverse_transfer":
        legs = tuple(sorted((str(leg["leg"]), leg["amount"], None) for leg in body.get("legs", ())))
    else:
        legs = _legs(body) if "legs" in body or (payee and amount) else ()
    amount = amount or sum(amount for _, amount, _ in legs)
    date, reason = None if legs else at, body.get("reason", "")
    return Asked(call.op, "", "", amount, date, "", payee if not legs else "", call.subject, legs, reason)


def _legs(body: dict[str, Any]) -> tuple[tuple[str, int, str | None], ...]:
    legs = body.get("legs") or [body]
    return tuple((str(leg["to_user_id"]), leg["amount"], leg.get("release_at")) for leg in legs)

"""What is asked of the books, and what stands in them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=64)  # all payouts of one commit share a time
def rfc3339(at_us: int) -> str:
    """A time in µs since 1970 as RFC 3339 in UTC, `2026-11-22T18:58:00.123456Z`."""
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat(timespec="microseconds")[:-6] + "Z"


class Payout(NamedTuple):
    """One line of the books, in the order of the table's columns. Amounts in minor units, times in µs.

    `idempotency_key` is None where it is the reference itself, as it mostly is: that saves an index entry.
    """

    seq: int
    reference: str
    idempotency_key: str | None
    amount: int
    currency: str
    destination: str | None  # JSON with sorted keys
    status: str  # paid | returned | declined
    decline_code: str | None
    created_us: int
    returned_us: int | None

    @property
    def key(self) -> str:
        """The idempotency key it was booked under."""
        return self.idempotency_key or self.reference


@dataclass(slots=True, eq=False)
class PayoutOrder:
    """Pay this once, or decline it with `decline_code`; what was decided about the reference before stays."""

    reference: str
    key: str
    amount: int
    currency: str
    destination: str | None
    decline_code: str | None = None


@dataclass(slots=True, eq=False)
class ReturnOrder:
    """The money of this payout came back."""

    reference: str


@dataclass(slots=True, eq=False)
class SaveFaults:
    """Remember these faults (JSON) across restarts."""

    faults_json: str


@dataclass(slots=True, eq=False)
class CallbackResult:
    """One try to tell of the return of payout `seq`: taken, or to be tried again `retry_in_us` from now."""

    seq: int
    delivered: bool
    retry_in_us: int = 0


Operation = PayoutOrder | ReturnOrder | SaveFaults | CallbackResult


class Verb(Enum):
    """What the books did with an operation."""

    BOOKED = "booked"  # paid, or the decline written down, just now
    KNOWN = "known"  # it stood there already, the same
    CONFLICT = "conflict"  # the reference or the key stands there with another body
    UNKNOWN = "unknown"  # no such payout
    NOT_PAID = "not_paid"  # declined money cannot come back


class Answer(NamedTuple):
    """What became of an operation, and the line concerned."""

    verb: Verb
    payout: Payout | None = None


class DueCallback(NamedTuple):
    """A return that the wallet must be told about now; `attempts` were made before."""

    payout: Payout
    attempts: int

"""What is asked of the books, and what stands in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=64)  # all payouts of one commit share a time
def rfc3339(at_us: int) -> str:
    """Return a time in µs since 1970 as RFC 3339 in UTC, `2026-11-22T18:58:00.123456Z`."""
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat(timespec="microseconds")[:-6] + "Z"


class Payout(NamedTuple):
    """One payout, in the order of the table's columns. Amounts in minor units, times in µs since 1970.

    `idempotency_key` is None where it is the reference itself, as it mostly is: that saves an index entry.
    """

    seq: int
    reference: str
    idempotency_key: str | None
    amount: int
    currency: str
    destination: str | None  # JSON as it came
    status: str  # pending | paid | returned | declined
    decline_code: str | None
    created_us: int
    returned_us: int | None
    place: int | None  # among what left the bank, where that is not `seq`: of what was pending
    paid_us: int | None  # when the money left; it may have come back since, also by a late decline
    returned_amount: int | None

    @property
    def key(self) -> str:
        """The idempotency key under which it was ordered."""
        return self.idempotency_key or self.reference


class Change(NamedTuple):
    """What becomes of a payout `after_us` µs later: paid, declined (with a code) or returned (an amount of it)."""

    after_us: int
    status: str
    code: str | None = None
    amount: int | None = None


class Plan(NamedTuple):
    """What becomes of a payout, decided when it is first ordered."""

    status: str = "paid"
    decline_code: str | None = None
    changes: tuple[Change, ...] = ()


PAID = Plan()


class CallbackPlan(NamedTuple):
    """How a callback is told: after a delay, and how many times."""

    delay_us: int = 0
    copies: int = 1


PlanCallback = Callable[[str, str], CallbackPlan]
"""Decides by type and reference of an event."""


@dataclass(slots=True, eq=False)
class PayoutOrder:
    """Pay this once, as planned.

    What was decided before under the reference or the key stays, for as long as the bank keeps keys
    (`key_window_us`; 0: for ever).
    """

    reference: str
    key: str
    amount: int
    currency: str
    destination: str | None
    plan: Plan = PAID
    key_window_us: int = 0


@dataclass(slots=True, eq=False)
class ReturnOrder:
    """The money of this payout came back, or `amount` of it."""

    reference: str
    plan_callback: PlanCallback
    amount: int | None = None


@dataclass(slots=True, eq=False)
class ApplyChanges:
    """Do what is due now."""

    plan_callback: PlanCallback


@dataclass(slots=True, eq=False)
class SaveFaults:
    """Remember these faults (JSON) across restarts."""

    faults_json: str


@dataclass(slots=True, eq=False)
class CallbackResult:
    """One try to tell of an event of payout `seq`: taken, or to be tried again `retry_in_us` from now."""

    seq: int
    type: str
    delivered: bool
    retry_in_us: int = 0


Operation = PayoutOrder | ReturnOrder | ApplyChanges | SaveFaults | CallbackResult


class Verb(Enum):
    """What the books did with an operation."""

    BOOKED = "booked"  # done, or the decline written down, just now
    KNOWN = "known"  # it stood there already, the same
    CONFLICT = "conflict"  # the reference or the key stands there with another body
    UNKNOWN = "unknown"  # no such payout
    NOT_PAID = "not_paid"  # money that has not left cannot come back
    TOO_MUCH = "too_much"  # more than was paid cannot come back


class Answer(NamedTuple):
    """What became of an operation, and the payout concerned."""

    verb: Verb
    payout: Payout | None = None


class DueCallback(NamedTuple):
    """An event that the wallet must be told about now; `attempts` were made before."""

    payout: Payout
    type: str  # payout.paid | payout.declined | payout.returned
    at_us: int
    attempts: int

"""The four answers a bank call can have. Everything that a network does is mapped to one of them.

Only `Declined` gives money back; only `Paid` ends a withdrawal well. The other two keep the money held.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Paid:
    """The bank has paid. `payout_id` is the bank's own name for it."""

    payout_id: str


@dataclass(frozen=True, slots=True)
class Declined:
    """The bank refuses for good, and has not paid. `code` is the bank's reason."""

    code: str


@dataclass(frozen=True, slots=True)
class BankUnavailable:
    """The call was certainly not accepted: refused connection, 429, 503."""

    reason: str


@dataclass(frozen=True, slots=True)
class OutcomeUnknown:
    """The bank may or may not have paid: timeout, reset, 5xx, unreadable reply. Never a failure."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotFound:
    """Answer to a question only: the bank doesn't know the reference *yet*. Never a reason to refund."""


PayOutcome = Paid | Declined | BankUnavailable | OutcomeUnknown
FindOutcome = Paid | Declined | NotFound | BankUnavailable | OutcomeUnknown

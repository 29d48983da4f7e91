"""What a bank call can come to. Everything that a network does is mapped to one of these, by the bank client.

Only `Declined` gives money back; only `Paid` ends a withdrawal well; `Returned` brings back what was paid. The
others keep the money held.
"""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Paid:
    """The bank has paid. `payout_id` is the bank's own name for it."""

    payout_id: str


@dataclass(frozen=True, slots=True)
class Declined:
    """The bank refuses this order for good. `code` is its reason.

    As answer to an order it counts only while no call for it went before whose outcome is unknown; as answer
    to a look-up it always does.
    """

    code: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The bank has the order and will say later what became of it. No failure; nothing is sent again."""

    payout_id: str | None = None
    """The bank's own name for it, where it has one already."""


@dataclass(frozen=True, slots=True)
class BankUnavailable:
    """The call was certainly not accepted: refused connection, 429, 503."""

    reason: str


@dataclass(frozen=True, slots=True)
class OutcomeUnknown:
    """The bank may or may not have paid: timeout, reset, 5xx, unreadable reply. Never a failure."""

    reason: str
    conflict: bool = False
    """The bank knows the reference with another body: something was ordered under it, perhaps not this."""


@dataclass(frozen=True, slots=True)
class NotFound:
    """Answer to a look-up only: the bank doesn't know the reference *yet*. Never a reason to refund."""


@dataclass(frozen=True, slots=True)
class Returned:
    """Answer to a look-up only: the bank has paid, and the money came back to us.

    `amount`, in minor units, is what came back; it can be less than was paid, or more.
    """

    payout_id: str
    amount: int


@dataclass(frozen=True, slots=True)
class Postponed:
    """What a round comes to that could not have the order paid for a reason that lies with us.

    Payouts are paused, or the bank declines because of our own account: the withdrawal stays due, no rung is used.
    """

    reason: str
    code: str | None = None
    """The code of the bank's decline, if it is one. The same twice in a row is for a person."""


@dataclass(frozen=True, slots=True)
class Unresolved:
    """What a round comes to that no further call can clear up: the order must not be sent again, so it is for a person.

    The bank had accepted it and knows nothing of it now, or its idempotency key is too old to be relied upon.
    """

    code: str
    reason: str


PayOutcome = Paid | Declined | Accepted | BankUnavailable | OutcomeUnknown
FindOutcome = PayOutcome | Returned | NotFound
RoundOutcome = PayOutcome | Returned | Postponed | Unresolved
"""What a round of calls for one withdrawal can come to."""


def reference_text(reference: UUID | None, withdrawal_id: UUID) -> str:
    """Return the text by which the bank knows a withdrawal: 32 hexadecimal digits of its reference.

    A withdrawal from before there were references has none; the bank knows it by its id, with hyphens.
    """
    return str(withdrawal_id) if reference is None else reference.hex


CHECK_PREFIX = "wbs-check-"


def is_check(reference: str) -> bool:
    """Tell whether a payout was ordered by `wbs bank check` to try the bank, and so belongs to no withdrawal."""
    return reference.startswith(CHECK_PREFIX)

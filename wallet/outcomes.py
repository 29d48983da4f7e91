"""The possible outcomes of a bank call. The bank client maps everything that a network can do to one of these.

Only `Declined` gives the held money back; only `Paid` completes a withdrawal; `Returned` brings back money that was
paid. The others keep the money held.
"""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Paid:
    """The bank has paid. `payout_id` is the bank's own identifier of the payout."""

    payout_id: str


@dataclass(frozen=True, slots=True)
class Declined:
    """The bank refuses this order for good. `code` is its reason.

    As the answer to an order, it counts only if no earlier call for that order has an unknown outcome; as the answer
    to a look-up, it always counts.
    """

    code: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The bank has the order and will report the outcome later. This is no failure; nothing is sent again."""

    payout_id: str | None = None
    """The bank's own identifier of the payout, if it has one already."""


@dataclass(frozen=True, slots=True)
class BankUnavailable:
    """The bank certainly did not accept the call: connection refused, 429, 503."""

    reason: str


@dataclass(frozen=True, slots=True)
class OutcomeUnknown:
    """The bank may or may not have paid: timeout, reset, 5xx, unreadable reply. This is never a failure."""

    reason: str
    conflict: bool = False
    """The bank knows the reference with another body: some order exists under it, perhaps not this one."""


@dataclass(frozen=True, slots=True)
class NotFound:
    """Answer to a look-up only: the bank doesn't know the reference *yet*. This is never a reason to refund."""


@dataclass(frozen=True, slots=True)
class Returned:
    """Answer to a look-up only: the bank had paid, and the money came back to us.

    `amount` is the returned sum in minor units; it can be less or more than the payout.
    """

    payout_id: str
    amount: int


@dataclass(frozen=True, slots=True)
class Postponed:
    """The round could not get the order paid, for a reason on our side.

    Payouts are paused, or the bank declines because of our own account: the withdrawal stays due, and no rung of the
    ladder is used.
    """

    reason: str
    code: str | None = None
    """The code of the bank's decline, if there is one. If the same code comes twice in a row, a person must look."""


@dataclass(frozen=True, slots=True)
class Unresolved:
    """No further call can clear this up: the order must not be sent again, so a person must look.

    The bank had accepted the order and doesn't know it now, or its idempotency key is too old to be relied upon.
    """

    code: str
    reason: str


PayOutcome = Paid | Declined | Accepted | BankUnavailable | OutcomeUnknown
FindOutcome = PayOutcome | Returned | NotFound
RoundOutcome = PayOutcome | Returned | Postponed | Unresolved
"""The possible outcomes of a round of calls for one withdrawal."""


def said(outcome: RoundOutcome) -> str:
    """Return what the bank said, or why nothing certain is known, for people."""
    if isinstance(outcome, Paid):
        return outcome.payout_id
    if isinstance(outcome, Declined):
        return outcome.code
    if isinstance(outcome, Accepted):
        return outcome.payout_id or "it will say later"
    if isinstance(outcome, Returned):
        return f"{outcome.payout_id}: {outcome.amount} came back"
    return outcome.reason


def reference_text(reference: UUID | None, withdrawal_id: UUID) -> str:
    """Return the text by which the bank knows a withdrawal: the 32 hexadecimal digits of its reference.

    A withdrawal made before references existed has none; the bank knows it by its id, with hyphens.
    """
    return str(withdrawal_id) if reference is None else reference.hex


CHECK_PREFIX = "wbs-check-"


def is_check(reference: str) -> bool:
    """Return whether `wbs bank check` ordered this payout to test the bank, so that it belongs to no withdrawal."""
    return reference.startswith(CHECK_PREFIX)

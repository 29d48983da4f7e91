"""The steps of a payout, as the trail and its span tell them: an attempt, what the bank said, what became of it."""

from collections.abc import Mapping

from actors import messages
from db.withdrawals import Attempt
from runtime.spans import Span, spans
from runtime.trail import trail
from wallet.outcomes import (
    Accepted,
    BankUnavailable,
    Declined,
    OutcomeUnknown,
    Paid,
    Postponed,
    Returned,
    RoundOutcome,
    Unresolved,
)
from wallet.withdrawal import Status

EVENTS: Mapping[type[RoundOutcome], str] = {
    Paid: "paid",
    Declined: "declined",
    Accepted: "accepted_by_the_bank",
    BankUnavailable: "bank_unavailable",
    OutcomeUnknown: "outcome_unknown",
    Returned: "returned_by_the_bank",
    Postponed: "postponed",
    Unresolved: "unresolved",
}
"""Name of the line that tells a round's outcome."""


def span_of(attempt: Attempt, began_at_ns: int) -> Span:
    """Return the span of a message whose round of bank calls begins, in the trace of the withdrawal's request."""
    about = {
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": messages.QUEUE,
        "wbs.withdrawal_id": attempt.withdrawal_id,
        "wbs.attempt": attempt.number,
    }
    return spans.work(f"process {messages.QUEUE}", attempt.trace, about, began_at_ns)


def note_attempt(attempt: Attempt) -> None:
    """Log that a round of bank calls begins."""
    trail.note(
        "attempt",
        withdrawal_id=attempt.withdrawal_id,
        user_id=attempt.user_id,
        attempt=attempt.number,
        reference=attempt.reference_text,
        amount=attempt.amount,
        currency=attempt.currency,
    )


def note_outcome(attempt: Attempt, outcome: RoundOutcome, took_ms: int) -> None:
    """Log a round's outcome, with the milliseconds that it took at the bank, and why in case of trouble."""
    trail.note(
        EVENTS[type(outcome)],
        withdrawal_id=attempt.withdrawal_id,
        attempt=attempt.number,
        bank_ms=took_ms,
        **{name: value for name in _WORDS if (value := getattr(outcome, name, None)) is not None},
    )


_WORDS = ("payout_id", "code", "reason")
"""What an outcome may say besides its kind."""


def note_status(attempt: Attempt, status: Status) -> None:
    """Log the state after a round: the one in which the withdrawal has ended, `due_again`, or `requires_attention`."""
    event = "due_again" if status is Status.PROCESSING else str(status)
    trail.note(event, withdrawal_id=attempt.withdrawal_id, user_id=attempt.user_id, attempt=attempt.number)

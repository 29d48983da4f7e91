"""The decision about transitions of withdrawals: pure. It says what the bank's answer means for the money.

Paid            → completed: the held money goes to the bank
Declined        → failed: the held money goes back to the wallet. After a payout: returned, with the decline's code
Returned        → returned: the amount that the bank sent back is available again
Accepted        → stays processing; the bank is asked again later, however long it takes
BankUnavailable → stays processing, due again later; after the last round requires_attention
OutcomeUnknown  → the same: an unknown outcome is never a failure
Postponed       → stays processing, due as soon as payouts resume
Unresolved      → requires_attention
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from wallet.commands import BANK, Cancel, Replay, Settle, SettleByHand, WithdrawalCommand
from wallet.errors import IllegalMove, NotCancellable, WalletError, WithdrawalNotFound
from wallet.ledger import Kind, Wallet, WalletId
from wallet.outcomes import (
    Accepted,
    BankUnavailable,
    Declined,
    OutcomeUnknown,
    Paid,
    Postponed,
    Returned,
    Unresolved,
)
from wallet.transitions import Ladder, Transition, Transitions, Withdrawal
from wallet.withdrawal import OPEN_STATES, Status

_NOT_UNDER_WAY = (Status.PENDING, Status.REQUIRES_ATTENTION)


def decide_transitions(
    commands: Sequence[WithdrawalCommand],
    withdrawals: Mapping[UUID, Withdrawal],
    wallets: Mapping[WalletId, Wallet],
    now: datetime,
    ladder: Ladder,
    proposed: Collection[UUID] = (),
) -> Transitions:
    """Decide each command in arrival order, and update the withdrawals and wallets accordingly.

    `proposed` holds the withdrawals for which there still was the proposal that a second person has approved.
    """
    transitions = Transitions()
    for command in commands:
        withdrawal = withdrawals.get(command.withdrawal_id)
        if withdrawal is None:
            transitions.outcomes.append(WithdrawalNotFound("no such withdrawal"))
            continue
        wallet = wallets[withdrawal.user_id, withdrawal.currency]
        transition = Transition(withdrawal, wallet, now, transitions, command.by)
        try:
            if isinstance(command, Settle):
                _settle(command, transition, ladder)
            elif isinstance(command, Cancel):
                _cancel(transition)
            elif isinstance(command, SettleByHand):
                _settle_by_hand(command, transition, proposed)
            else:
                _replay(command, transition)
        except WalletError as refusal:
            transitions.outcomes.append(refusal)
            continue
        transitions.outcomes.append(withdrawal.status)
    return transitions


def _settle(command: Settle, transition: Transition, ladder: Ladder) -> None:
    withdrawal, outcome = transition.withdrawal, command.outcome
    looked_up = command.lease_until is None
    if isinstance(outcome, Paid):
        _paid(outcome, transition)
    elif isinstance(outcome, Declined):
        _declined(outcome, transition, command)
    elif isinstance(outcome, Returned):
        _returned(outcome, transition)
    elif isinstance(outcome, Accepted) and looked_up and withdrawal.status in _NOT_UNDER_WAY:
        transition.move_to(Status.PROCESSING, "the bank has it and will say later")
        _accepted(transition, ladder)
    elif withdrawal.status is Status.PROCESSING and (looked_up or _has_lease(command, withdrawal)):
        if isinstance(outcome, Accepted):
            _accepted(transition, ladder)
        elif isinstance(outcome, Unresolved):
            _unresolved(outcome, transition)
        elif isinstance(outcome, Postponed):
            _postponed(outcome, transition)
        elif not looked_up:
            _not_yet(outcome, transition, ladder)
    # else: a later attempt is under way, this outcome is already recorded, or the withdrawal has ended: nothing new.


def _has_lease(command: Settle, withdrawal: Withdrawal) -> bool:
    """Return whether the attempt still has its lease. Recording the attempt's outcome ends the lease."""
    return (withdrawal.attempts, withdrawal.next_attempt_at) == (command.attempt, command.lease_until)


def _begin(transition: Transition) -> None:
    """Record that the bank was called, if only the bank's knowledge shows it because history was lost here."""
    if transition.withdrawal.status is Status.PENDING:
        transition.move_to(Status.PROCESSING, "the bank knows of it already")


def _paid(outcome: Paid, transition: Transition) -> None:
    withdrawal = transition.withdrawal
    if withdrawal.status in (Status.COMPLETED, Status.RETURNED):
        return
    _begin(transition)
    transition.move_to(Status.COMPLETED, "the bank paid")
    withdrawal.bank_reference = outcome.payout_id
    withdrawal.failure_code = withdrawal.failure_reason = None
    transition.move_money(Kind.PAYOUT)


def _declined(outcome: Declined, transition: Transition, command: Settle) -> None:
    withdrawal = transition.withdrawal
    if withdrawal.status in (Status.FAILED, Status.RETURNED):
        return
    if withdrawal.status is Status.COMPLETED and command.was_completed:
        transition.move_to(Status.RETURNED, f"the bank declined after it had paid: {outcome.code}", by=BANK)
        withdrawal.failure_code = outcome.code
        withdrawal.failure_reason = "declined by the bank after it had paid"
        transition.move_money(Kind.RETURN)
        return
    if (
        withdrawal.status in OPEN_STATES
        and command.lease_until is not None
        and not _has_lease(command, withdrawal)
    ):
        return  # a later attempt may have been paid: from here on only a look-up can establish a decline
    _begin(transition)
    transition.move_to(Status.FAILED, f"the bank declined: {outcome.code}")
    withdrawal.failure_code, withdrawal.failure_reason = outcome.code, "declined by the bank"
    transition.move_money(Kind.REFUND)


def _returned(outcome: Returned, transition: Transition) -> None:
    withdrawal = transition.withdrawal
    if withdrawal.bank_reference not in (None, outcome.payout_id):
        # If the bank had paid twice and returned one payout, the client would keep the money and get it back as well.
        raise IllegalMove(f"the bank returned {outcome.payout_id}, it had paid {withdrawal.bank_reference}")
    if withdrawal.status is Status.RETURNED:
        return
    if outcome.amount > withdrawal.amount:
        raise IllegalMove(f"the bank returned {outcome.amount}, it had paid {withdrawal.amount}")
    # Returned money was paid before; often the return is the first news of the payout that we get.
    _paid(Paid(outcome.payout_id), transition)
    whole = outcome.amount == withdrawal.amount
    what = "the money" if whole else f"{outcome.amount} of {withdrawal.amount}"
    transition.move_to(Status.RETURNED, f"the bank sent {what} back", by=BANK)
    transition.move_money(Kind.RETURN, outcome.amount)


def _accepted(transition: Transition, ladder: Ladder) -> None:
    withdrawal = transition.withdrawal
    withdrawal.accepted_at = withdrawal.accepted_at or max(transition.now, withdrawal.updated_at)
    withdrawal.failure_code = withdrawal.failure_reason = None
    _ask_again(transition, ladder)


def _ask_again(transition: Transition, ladder: Ladder) -> None:
    withdrawal = transition.withdrawal
    assert withdrawal.accepted_at is not None
    waited = transition.now - withdrawal.accepted_at
    transition.redrive_at(transition.now + ladder.accepted_delay(waited, withdrawal.jitter))


def _unresolved(outcome: Unresolved, transition: Transition) -> None:
    transition.move_to(Status.REQUIRES_ATTENTION, outcome.reason)
    transition.withdrawal.failure_code, transition.withdrawal.failure_reason = outcome.code, outcome.reason


def _postponed(outcome: Postponed, transition: Transition) -> None:
    withdrawal = transition.withdrawal
    if outcome.code is not None:
        if withdrawal.failure_code == outcome.code:
            # Payouts were resumed since. Without an end here, this withdrawal would pause them again and again.
            _unresolved(Unresolved(outcome.code, outcome.reason), transition)
            return
        withdrawal.failure_code, withdrawal.failure_reason = outcome.code, outcome.reason
    transition.redrive_at(transition.now)


def _not_yet(outcome: BankUnavailable | OutcomeUnknown, transition: Transition, ladder: Ladder) -> None:
    withdrawal = transition.withdrawal
    if withdrawal.accepted_at is not None:
        _ask_again(
            transition, ladder
        )  # the bank has the order; a failed look-up is not a failure of the payout
        return
    withdrawal.rounds += 1
    withdrawal.failure_code = _failure_code(outcome, withdrawal)
    withdrawal.failure_reason = outcome.reason
    if withdrawal.rounds >= ladder.rounds_max:
        transition.move_to(Status.REQUIRES_ATTENTION, f"retries used up; last: {outcome.reason}")
        return
    transition.redrive_at(transition.now + ladder.delay(withdrawal.rounds, withdrawal.jitter))


def _failure_code(outcome: BankUnavailable | OutcomeUnknown, withdrawal: Withdrawal) -> str:
    if withdrawal.failure_code == "bank_conflict" or (
        isinstance(outcome, OutcomeUnknown) and outcome.conflict
    ):
        return (
            "bank_conflict"  # for good: from then on only a look-up that repeats the whole order is believed
        )
    return "bank_unavailable" if isinstance(outcome, BankUnavailable) else "outcome_unknown"


def _cancel(transition: Transition) -> None:
    status = transition.withdrawal.status
    if status is Status.CANCELLED:
        return
    if status is not Status.PENDING or transition.withdrawal.may_be_known:
        raise NotCancellable(status.value, may_be_known=transition.withdrawal.may_be_known)
    transition.move_to(Status.CANCELLED, "cancelled by the client")
    transition.move_money(Kind.REFUND)


def _replay(command: Replay, transition: Transition) -> None:
    withdrawal = transition.withdrawal
    if withdrawal.status is not Status.REQUIRES_ATTENTION:
        # A pending withdrawal may become processing too, but only by the attempt that calls the bank.
        raise IllegalMove(f"it is {withdrawal.status}; only a withdrawal that requires attention is replayed")
    transition.move_to(Status.PROCESSING, "replayed by an operator")
    withdrawal.rounds = 0
    transition.redrive_at(transition.now + command.after)
    if not command.after:
        transition.batch.announced.append(withdrawal)


def _settle_by_hand(command: SettleByHand, transition: Transition, proposed: Collection[UUID]) -> None:
    withdrawal, outcome = transition.withdrawal, command.outcome
    if withdrawal.status is not Status.REQUIRES_ATTENTION:
        raise IllegalMove(
            f"it is {withdrawal.status}; only a withdrawal that requires attention is settled by hand"
        )
    if command.proposed_at is not None and withdrawal.id not in proposed:
        raise IllegalMove(
            "that proposal is not there any more, or the withdrawal has changed since: look again"
        )
    if isinstance(outcome, Paid):
        transition.move_to(Status.COMPLETED, f"settled by hand, paid: {command.reason}")
        withdrawal.bank_reference = outcome.payout_id
        withdrawal.failure_code = withdrawal.failure_reason = None
        transition.move_money(Kind.PAYOUT)
    else:
        transition.move_to(Status.FAILED, f"settled by hand, not paid: {command.reason}")
        withdrawal.failure_code, withdrawal.failure_reason = outcome.code, command.reason
        transition.move_money(Kind.REFUND)

"""The decision about moves of withdrawals: pure. What the bank's answer means for the money is decided here.

Paid            → completed: held money goes to the bank
Declined        → failed: held money goes back
BankUnavailable → stays processing, due again later; after the last round requires_attention
OutcomeUnknown  → the same: an unknown outcome is never a failure
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from wallet.commands import Cancel, Replay, Return, Settle, WithdrawalCommand
from wallet.errors import IllegalMove, NotCancellable, NotReturnable, WalletError, WithdrawalNotFound
from wallet.ledger import Kind, Transfer, Wallet, WalletId
from wallet.outcomes import Accepted, BankUnavailable, Declined, OutcomeUnknown, Paid, Returned
from wallet.withdrawal import END_STATES, Status, can_move


@dataclass(slots=True)
class Withdrawal:
    """A withdrawal as the database has it, under lock, while its moves are decided."""

    id: UUID
    user_id: str
    currency: str
    amount: int
    status: Status
    attempts: int
    """Rounds of bank calls begun so far; each has its number."""
    rounds: int
    """Rungs of the ladder used up since the beginning or the last replay."""
    next_attempt_at: datetime
    history_length: int
    failure_code: str | None = None
    failure_reason: str | None = None
    bank_reference: str | None = None
    updated_at: datetime = field(kw_only=True)


class HistoryRow(NamedTuple):
    """One move of a withdrawal: which state, when, and why."""

    withdrawal_id: UUID
    user_id: str
    seq: int
    status: str
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Ladder:
    """When a withdrawal is tried again: after min, 2·min, 4·min, … at most max; `rounds_max` times in all."""

    rounds_max: int
    delay_min: timedelta
    delay_max: timedelta

    def delay(self, rounds: int, jitter: float) -> timedelta:
        """Return the wait after round number `rounds` (1, 2, …). `jitter` in [0, 1) takes off up to a half."""
        doubled: timedelta = self.delay_min * 2 ** min(rounds - 1, 32)
        return min(doubled, self.delay_max) * (1 - jitter / 2)


@dataclass(slots=True)
class Moves:
    """What is answered, in the order of the commands, and what is to be written."""

    outcomes: list[Status | WalletError] = field(default_factory=list)
    changed: dict[UUID, Withdrawal] = field(default_factory=dict)
    transfers: list[Transfer] = field(default_factory=list)
    history: list[HistoryRow] = field(default_factory=list)
    rung: list[Withdrawal] = field(default_factory=list)
    """Withdrawals for which the doorbell has to ring: they get an outbox row."""


def decide_moves(
    commands: Sequence[WithdrawalCommand],
    withdrawals: Mapping[UUID, Withdrawal],
    wallets: Mapping[WalletId, Wallet],
    now: datetime,
    ladder: Ladder,
) -> Moves:
    """Decide each command in arrival order; withdrawals and wallets are changed to what holds afterwards."""
    moves = Moves()
    for command in commands:
        withdrawal = withdrawals.get(command.withdrawal_id)
        if withdrawal is None:
            moves.outcomes.append(WithdrawalNotFound("no such withdrawal"))
            continue
        wallet = wallets[withdrawal.user_id, withdrawal.currency]
        mover = _Mover(withdrawal, wallet, now, moves)
        try:
            if isinstance(command, Settle):
                _settle(command, mover, ladder)
            elif isinstance(command, Cancel):
                _cancel(mover)
            elif isinstance(command, Return):
                _return(command, mover)
            else:
                _replay(command, mover)
        except WalletError as refusal:
            moves.outcomes.append(refusal)
            continue
        moves.outcomes.append(withdrawal.status)
    return moves


@dataclass(slots=True)
class _Mover:
    """One withdrawal on its way to its next state."""

    withdrawal: Withdrawal
    wallet: Wallet
    now: datetime
    """What is due, and from when on. What is written down carries an instant that is never earlier than before."""
    moves: Moves

    def move_to(self, target: Status, reason: str) -> None:
        """Change the state and add to the history. Raises IllegalMove."""
        withdrawal = self.withdrawal
        if not can_move(withdrawal.status, target):
            raise IllegalMove(f"{withdrawal.status} → {target}")
        withdrawal.status = target
        withdrawal.history_length += 1
        self._change()
        self.moves.history.append(
            HistoryRow(
                withdrawal.id,
                withdrawal.user_id,
                withdrawal.history_length,
                target.value,
                withdrawal.updated_at,
                reason,
            )
        )

    def move_money(self, kind: Kind) -> None:
        """Write the transfer that goes with the move."""
        withdrawal = self.withdrawal
        self.moves.transfers.append(self.wallet.move(kind, withdrawal.amount, reference=withdrawal.id))

    def ring_at(self, at: datetime) -> None:
        """Make the withdrawal due at `at`."""
        self.withdrawal.next_attempt_at = at
        self._change()

    def _change(self) -> None:
        withdrawal = self.withdrawal
        self.wallet.not_before(withdrawal.updated_at)
        withdrawal.updated_at = self.wallet.at
        self.moves.changed[withdrawal.id] = withdrawal


def _settle(command: Settle, mover: _Mover, ladder: Ladder) -> None:
    withdrawal, outcome = mover.withdrawal, command.outcome
    if isinstance(outcome, Returned):
        # What came back was paid first. That it came back, the reconciler reads in the bank's books.
        outcome = Paid(outcome.payout_id)
    if isinstance(outcome, Accepted):
        outcome = OutcomeUnknown("the bank has it and will say later")
    if isinstance(outcome, Paid):
        _paid(outcome, mover)
    elif isinstance(outcome, Declined):
        _declined(outcome, mover)
    elif withdrawal.status is Status.PROCESSING and _has_lease(command, withdrawal):
        _not_yet(outcome, mover, ladder)
    # else: a later attempt is under way, this was written down before, or it has ended; nothing was learned.


def _has_lease(command: Settle, withdrawal: Withdrawal) -> bool:
    """Tell whether the attempt still has its lease: writing down how it ended gives it up."""
    return (withdrawal.attempts, withdrawal.next_attempt_at) == (command.attempt, command.lease_until)


def _paid(outcome: Paid, mover: _Mover) -> None:
    withdrawal = mover.withdrawal
    if withdrawal.status in (Status.COMPLETED, Status.RETURNED):
        return
    mover.move_to(Status.COMPLETED, "the bank paid")
    withdrawal.bank_reference = outcome.payout_id
    withdrawal.failure_code = withdrawal.failure_reason = None
    mover.move_money(Kind.PAYOUT)


def _declined(outcome: Declined, mover: _Mover) -> None:
    withdrawal = mover.withdrawal
    if withdrawal.status is Status.FAILED:
        return
    mover.move_to(Status.FAILED, f"the bank declined: {outcome.code}")
    withdrawal.failure_code, withdrawal.failure_reason = outcome.code, "declined by the bank"
    mover.move_money(Kind.REFUND)


def _not_yet(outcome: BankUnavailable | OutcomeUnknown, mover: _Mover, ladder: Ladder) -> None:
    withdrawal = mover.withdrawal
    withdrawal.rounds += 1
    withdrawal.failure_code = (
        "bank_unavailable" if isinstance(outcome, BankUnavailable) else "outcome_unknown"
    )
    withdrawal.failure_reason = outcome.reason
    if withdrawal.rounds >= ladder.rounds_max:
        mover.move_to(Status.REQUIRES_ATTENTION, f"retries used up; last: {outcome.reason}")
        return
    jitter = withdrawal.id.int % 1024 / 1024
    mover.ring_at(mover.now + ladder.delay(withdrawal.rounds, jitter))


def _cancel(mover: _Mover) -> None:
    status = mover.withdrawal.status
    if status is Status.CANCELLED:
        return
    if status is not Status.PENDING:
        raise NotCancellable(status.value)
    mover.move_to(Status.CANCELLED, "cancelled by the client")
    mover.move_money(Kind.REFUND)


def _return(command: Return, mover: _Mover) -> None:
    withdrawal = mover.withdrawal
    if withdrawal.bank_reference not in (None, command.payout_id):
        # Had the bank paid twice and sent one back, the client would have the money, and get it again.
        raise IllegalMove(f"the bank returned {command.payout_id}, it had paid {withdrawal.bank_reference}")
    if withdrawal.status is Status.RETURNED:
        return
    if (command.amount, command.currency) != (withdrawal.amount, withdrawal.currency):
        raise IllegalMove(
            f"the bank returned {command.amount} {command.currency}, "
            f"the withdrawal is {withdrawal.amount} {withdrawal.currency}"
        )
    if withdrawal.status in END_STATES - {Status.COMPLETED}:
        raise NotReturnable(withdrawal.status.value)
    if withdrawal.status is Status.PENDING:
        raise NotReturnable(withdrawal.status.value)
    if withdrawal.status is not Status.COMPLETED:
        # What came back was paid before: the news of the return overtook the news of the payment.
        _paid(Paid(command.payout_id), mover)
    mover.move_to(Status.RETURNED, "the bank sent the money back")
    mover.move_money(Kind.RETURN)


def _replay(command: Replay, mover: _Mover) -> None:
    withdrawal = mover.withdrawal
    if withdrawal.status is not Status.REQUIRES_ATTENTION:
        # A pending one may become processing too, but not by this: it is for the attempt that calls the bank.
        raise IllegalMove(f"it is {withdrawal.status}; only a withdrawal that requires attention is replayed")
    mover.move_to(Status.PROCESSING, "replayed by an operator")
    withdrawal.rounds = 0
    mover.ring_at(mover.now)
    mover.moves.rung.append(withdrawal)

"""A withdrawal and its wallet, to try moves on without a database."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID

from wallet.commands import Settle, WithdrawalCommand
from wallet.decide_transitions import decide_transitions
from wallet.ledger import Kind, Wallet
from wallet.outcomes import Paid, RoundOutcome
from wallet.transitions import Ladder, Transitions, Withdrawal
from wallet.withdrawal import OPEN_STATES, Status

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LEASE = NOW + timedelta(seconds=20)
ID = UUID(int=1)
AMOUNT = 70
LADDER = Ladder(rounds_max=3, delay_min=timedelta(seconds=2), delay_max=timedelta(seconds=30))

PENDING, PROCESSING, COMPLETED, FAILED = Status.PENDING, Status.PROCESSING, Status.COMPLETED, Status.FAILED
CANCELLED, ATTENTION, RETURNED = Status.CANCELLED, Status.REQUIRES_ATTENTION, Status.RETURNED

MONEY: dict[Status, Counter[str]] = {
    COMPLETED: Counter({Kind.PAYOUT: 1}),
    FAILED: Counter({Kind.REFUND: 1}),
    CANCELLED: Counter({Kind.REFUND: 1}),
    RETURNED: Counter({Kind.PAYOUT: 1, Kind.RETURN: 1}),
    PENDING: Counter(),
    PROCESSING: Counter(),
    ATTENTION: Counter(),
}
"""Transfers, after the reserve, that a withdrawal in this state must have had."""


class Setting:
    """One withdrawal in a wallet that has other money too."""

    def __init__(self, status: Status = PENDING, *, rounds: int = 0) -> None:
        begun = status not in (PENDING, CANCELLED)
        self.withdrawal = Withdrawal(
            ID,
            "ann",
            "USD",
            AMOUNT,
            status,
            attempts=int(begun),
            rounds=rounds,
            next_attempt_at=LEASE if status is PROCESSING else NOW,
            history_length=1,
            bank_reference="p1" if status in (COMPLETED, RETURNED) else None,
            updated_at=NOW,
        )
        held = 5 + (AMOUNT if status in OPEN_STATES else 0)
        self.wallet = Wallet("ann", "USD", available=11, locked=3, held=held, at=NOW)
        self.kinds = Counter(MONEY[status])
        self.path = [status]

    def take(self, *commands: WithdrawalCommand, now: datetime = NOW) -> Transitions:
        """Decide the commands in one batch, as of `now` by the clock."""
        self.wallet.not_before(now)
        transitions = decide_transitions(
            commands, {ID: self.withdrawal}, {("ann", "USD"): self.wallet}, now, LADDER
        )
        self.kinds.update(transfer.kind for transfer in transitions.transfers)
        self.path += [Status(row.status) for row in transitions.history]
        return transitions

    def begin(self, now: datetime = NOW) -> Settle | None:
        """Do what `begin` in db/queries/withdrawals.sql does; return a Settle to be given an outcome."""
        withdrawal = self.withdrawal
        due = withdrawal.status is PROCESSING and withdrawal.next_attempt_at <= now
        if not due and withdrawal.status is not PENDING:
            return None
        if withdrawal.status is PENDING:
            withdrawal.history_length += 1
            withdrawal.status = PROCESSING
            self.path.append(PROCESSING)
        withdrawal.attempts += 1
        withdrawal.next_attempt_at = now + timedelta(seconds=20)
        return news(Paid("p1"), attempt=withdrawal.attempts, lease_until=withdrawal.next_attempt_at)


def news(outcome: RoundOutcome, *, attempt: int = 1, lease_until: datetime | None = LEASE) -> Settle:
    """Return news of an attempt, the first one unless said otherwise."""
    return Settle(ID, "ann", attempt, outcome, lease_until)


def told(outcome: RoundOutcome, *, was_completed: bool = False) -> Settle:
    """Return what a look-up told."""
    return Settle(ID, "ann", 0, outcome, was_completed=was_completed, by="reconciler")

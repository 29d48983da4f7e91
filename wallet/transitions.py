"""What transitions of withdrawals are decided from, and what comes of it: values, as the database has them."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from wallet.errors import IllegalMove, WalletError
from wallet.ledger import Kind, Transfer, Wallet
from wallet.withdrawal import Status, can_move


@dataclass(slots=True)
class Withdrawal:
    """A withdrawal as the database has it, under lock, while its transitions are decided."""

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
    accepted_at: datetime | None = None
    """When the bank said that it has the order and will say later: it is only asked about since."""
    may_be_known: bool = False
    """True if the bank may know of it though no call of it is written down: history was lost, and it was not looked
    up since."""
    updated_at: datetime = field(kw_only=True)

    @property
    def jitter(self) -> float:
        """A number in [0, 1), always the same for a withdrawal: many of them don't come back all at once."""
        return self.id.int % 1024 / 1024


class HistoryRow(NamedTuple):
    """One move of a withdrawal: which state, when, why, and who made it."""

    withdrawal_id: UUID
    user_id: str
    seq: int
    status: str
    at: datetime
    reason: str
    made_by: str


@dataclass(frozen=True, slots=True)
class Ladder:
    """When a withdrawal is tried again: after min, 2·min, 4·min, … at most max; `rounds_max` times in all.

    What the bank has accepted stands on no rung. It is asked about again and again, each time after as long as it
    has been with the bank, `accepted_delay_min` at least and `accepted_delay_max` at most.
    """

    rounds_max: int
    delay_min: timedelta
    delay_max: timedelta
    accepted_delay_min: timedelta = timedelta(seconds=10)
    accepted_delay_max: timedelta = timedelta(hours=1)

    def delay(self, rounds: int, jitter: float) -> timedelta:
        """Return the wait after round number `rounds` (1, 2, …). `jitter` in [0, 1) takes off up to a half."""
        doubled: timedelta = self.delay_min * 2 ** min(rounds - 1, 32)
        return min(doubled, self.delay_max) * (1 - jitter / 2)

    def accepted_delay(self, waited: timedelta, jitter: float) -> timedelta:
        """Return the wait before the next question about what the bank has had for `waited`.

        `jitter` in [0, 1) adds up to a quarter, within the limits.
        """
        return min(max(waited, self.accepted_delay_min) * (1 + jitter / 4), self.accepted_delay_max)


@dataclass(slots=True)
class Transitions:
    """What is answered, in the order of the commands, and what is to be written."""

    outcomes: list[Status | WalletError] = field(default_factory=list)
    changed: dict[UUID, Withdrawal] = field(default_factory=dict)
    transfers: list[Transfer] = field(default_factory=list)
    history: list[HistoryRow] = field(default_factory=list)
    announced: list[Withdrawal] = field(default_factory=list)
    """Withdrawals that the actors are to be told of: they get an outbox row."""


@dataclass(slots=True)
class Transition:
    """One withdrawal on its way to its next state."""

    withdrawal: Withdrawal
    wallet: Wallet
    now: datetime
    """What is due, and from when on. What is written down carries an instant that is never earlier than before."""
    batch: Transitions
    by: str

    def move_to(self, target: Status, reason: str, *, by: str | None = None) -> None:
        """Change the state and add to the history. Raises IllegalMove."""
        withdrawal = self.withdrawal
        if not can_move(withdrawal.status, target):
            raise IllegalMove(f"{withdrawal.status} → {target}")
        withdrawal.status = target
        if target is Status.PROCESSING:
            # Where the first move says so, by a call that is not written down here: its attempt was lost with history.
            withdrawal.attempts = max(withdrawal.attempts, 1)
        withdrawal.history_length += 1
        self._change()
        self.batch.history.append(
            HistoryRow(
                withdrawal.id,
                withdrawal.user_id,
                withdrawal.history_length,
                target.value,
                withdrawal.updated_at,
                reason,
                by or self.by,
            )
        )

    def move_money(self, kind: Kind, amount: int | None = None) -> None:
        """Write the transfer that goes with the move: of all its money, or of `amount`."""
        withdrawal = self.withdrawal
        self.batch.transfers.append(
            self.wallet.move(kind, amount or withdrawal.amount, reference=withdrawal.id)
        )

    def redrive_at(self, at: datetime) -> None:
        """Make the withdrawal due at `at`."""
        self.withdrawal.next_attempt_at = at
        self._change()

    def _change(self) -> None:
        withdrawal = self.withdrawal
        self.wallet.not_before(withdrawal.updated_at)
        withdrawal.updated_at = self.wallet.at
        self.batch.changed[withdrawal.id] = withdrawal

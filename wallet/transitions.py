"""The input and the result of decisions about transitions of withdrawals: values, as the database has them."""

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
    """Number of rounds of bank calls begun so far; each round has its number."""
    rounds: int
    """Rungs of the ladder used up since the start or the last replay."""
    next_attempt_at: datetime
    history_length: int
    failure_code: str | None = None
    failure_reason: str | None = None
    bank_reference: str | None = None
    accepted_at: datetime | None = None
    """The time when the bank said that it has the order and will report later; since then it is only looked up."""
    may_be_known: bool = False
    """True if the bank may know the withdrawal although no call is recorded: history was lost, and the withdrawal was
    not looked up since."""
    updated_at: datetime = field(kw_only=True)

    @property
    def jitter(self) -> float:
        """A number in [0, 1), always the same for one withdrawal, so that many withdrawals are not due all at once."""
        return self.id.int % 1024 / 1024


class HistoryRow(NamedTuple):
    """One transition of a withdrawal: its state, time, reason and author."""

    withdrawal_id: UUID
    user_id: str
    seq: int
    status: str
    at: datetime
    reason: str
    made_by: str


@dataclass(frozen=True, slots=True)
class Ladder:
    """The retry schedule of a withdrawal: after min, 2·min, 4·min, … at most max; `rounds_max` times in all.

    A withdrawal that the bank has accepted uses no rungs. It is looked up again and again, each time after the bank
    has had it twice as long, but after `accepted_delay_min` at least and `accepted_delay_max` at most.
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
        """Return the wait before the next look-up of an order that the bank has had for `waited`.

        `jitter` in [0, 1) adds up to a quarter, within the limits.
        """
        return min(max(waited, self.accepted_delay_min) * (1 + jitter / 4), self.accepted_delay_max)


@dataclass(slots=True)
class Transitions:
    """The outcomes, in the order of the commands, and the rows to be written."""

    outcomes: list[Status | WalletError] = field(default_factory=list)
    changed: dict[UUID, Withdrawal] = field(default_factory=dict)
    transfers: list[Transfer] = field(default_factory=list)
    history: list[HistoryRow] = field(default_factory=list)
    announced: list[Withdrawal] = field(default_factory=list)
    """Withdrawals to announce to the actors: each gets an outbox row."""


@dataclass(slots=True)
class Transition:
    """One withdrawal on its way to its next state."""

    withdrawal: Withdrawal
    wallet: Wallet
    now: datetime
    """The clock for due times. The rows themselves carry instants that never go back."""
    batch: Transitions
    by: str

    def move_to(self, target: Status, reason: str, *, by: str | None = None) -> None:
        """Change the state and add a row to the history. Raises IllegalMove."""
        withdrawal = self.withdrawal
        if not can_move(withdrawal.status, target):
            raise IllegalMove(f"{withdrawal.status} → {target}")
        withdrawal.status = target
        if target is Status.PROCESSING:
            # The first transition may come from a call that is not recorded here: its attempt was lost with history.
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
        """Write the transfer that belongs to the transition: of the whole amount, or of `amount`."""
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

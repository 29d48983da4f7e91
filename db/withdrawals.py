"""Transitions of withdrawals: begin an attempt, record an outcome, cancel, return, replay.

Each goes through a group commit: the transitions of an actor process's 50 coroutines share transactions. A transition
is compare-and-set: it takes effect only from a state in which it is legal, however often and in whatever order it
comes.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from db.connections import autocommit, transaction
from db.group_commit import GroupCommit
from db.held import held_withdrawals, held_withdrawals_or_wallets, names_of_transition
from db.outbox import OutboxNotifier
from db.reconciliation import WithdrawalRow
from db.sql import load
from db.strict import require, whole
from db.transition_writes import NULLABLE, complete, payments_only, record_attempts, write_transitions
from runtime.activity import ACTIVITY
from runtime.settings import Settings
from runtime.tasks import SupervisedTasks
from runtime.telemetry import WITHDRAWAL_SECONDS, WITHDRAWALS_ENDED, start_at_zero
from wallet.commands import (
    CLIENT,
    OPERATOR,
    RECONCILER,
    Cancel,
    Replay,
    Settle,
    SettleByHand,
    WithdrawalCommand,
)
from wallet.errors import WalletError
from wallet.ids import instant_of
from wallet.outcomes import Declined, Paid, RoundOutcome, reference_text
from wallet.traces import Trace, kept_trace
from wallet.transitions import Ladder
from wallet.withdrawal import END_STATES, Status

_SQL = load("withdrawals")

start_at_zero(WITHDRAWALS_ENDED, END_STATES)


class PayoutsPaused(Exception):
    """No attempt may begin: payouts are paused, or it is not yet known whether our history is whole."""


class Attempt(NamedTuple):
    """One round of bank calls that may begin now. `number` counts from 1."""

    withdrawal_id: UUID
    user_id: str
    currency: str
    amount: int
    destination: str | None
    """JSON text, as the client sent it."""
    number: int
    lease_until: datetime
    """No other attempt may begin before this."""
    reference: UUID | None = None
    key_age_s: float = 0.0
    """Age of the idempotency key in seconds: the time since the bank was first called."""
    ask_first: bool = False
    """The bank may know it from an earlier attempt, perhaps one that was lost with our history."""
    accepted: bool = False
    """The bank said that it has the order: it is never sent again."""
    conflict: bool = False
    """The bank knows the reference with another body."""
    request_id: str | None = None
    traceparent: str | None = None
    """Of the request that it was made by."""

    @property
    def trace(self) -> Trace | None:
        """The trace of the request that it was made by."""
        return kept_trace(self.request_id, self.traceparent)

    @property
    def reference_text(self) -> str:
        """The reference by which the bank knows the withdrawal."""
        return reference_text(self.reference, self.withdrawal_id)


class _Begin(NamedTuple):
    withdrawal_id: UUID
    user_id: str


class Withdrawals:
    """Accepts transitions of withdrawals and answers each after its commit.

    Methods raise Overloaded and Unavailable as documented in `db.group_commit`, and the errors that they name.
    """

    def __init__(self, settings: Settings, tasks: SupervisedTasks | None = None) -> None:
        tasks = tasks or SupervisedTasks()
        self._notifier = OutboxNotifier(settings.database, tasks)
        self._lease = timedelta(milliseconds=settings.lease_ms)
        self._ladder = Ladder(
            settings.retry_rounds,
            timedelta(milliseconds=settings.retry_delay_ms_min),
            timedelta(milliseconds=settings.retry_delay_ms_max),
        )
        self._begins: GroupCommit[_Begin, Attempt | PayoutsPaused | None] = GroupCommit(
            "begin",
            settings.database,
            settings.batches,
            tasks,
            self._write_begins,
            names_of_transition,
            held_withdrawals,
        )
        self._transitions: GroupCommit[WithdrawalCommand, Status] = GroupCommit(
            "transitions",
            settings.database,
            settings.batches,
            tasks,
            self._write_transitions,
            names_of_transition,
            held_withdrawals_or_wallets,
        )
        self.last_transitions = self._transitions.last_writes
        self.last_begins = self._begins.last_writes

    def start(self) -> None:
        """Begin to write. Needs a running event loop, but no server yet."""
        self._begins.start()
        self._transitions.start()
        self._notifier.start()

    async def stop(self) -> None:
        """Write the waiting requests, then close the connections."""
        await self._begins.stop()
        await self._transitions.stop()
        await self._notifier.stop()

    async def begin_attempt(self, withdrawal_id: UUID, user_id: str) -> Attempt | None:
        """Record that the bank is about to be called, and lease the withdrawal to the caller.

        None means that there is nothing to do: the withdrawal has ended, requires attention, is not due, or another
        attempt holds the lease. Raises PayoutsPaused.
        """
        begun = await self._begins.submit(_Begin(withdrawal_id, user_id))
        if isinstance(begun, PayoutsPaused):
            raise begun
        return begun

    async def settle(self, attempt: Attempt, outcome: RoundOutcome, took_ms: int | None = None) -> Status:
        """Record the attempt's outcome; return the resulting state. A late or repeated outcome changes nothing.

        Raises IllegalMove if the bank contradicts its earlier word.
        """
        command = Settle(
            attempt.withdrawal_id,
            attempt.user_id,
            attempt.number,
            outcome,
            attempt.lease_until,
            took_ms=took_ms,
        )
        return await self._transitions.submit(command)

    async def learn(self, known: WithdrawalRow, outcome: RoundOutcome) -> Status:
        """Record the outcome of a look-up; return the resulting state.

        `known` is the withdrawal as it was before the look-up. Raises IllegalMove if the bank contradicts its earlier
        word, WithdrawalNotFound.
        """
        was_completed = known.status == Status.COMPLETED
        command = Settle(
            known.id, known.user_id, known.attempts, outcome, was_completed=was_completed, by=RECONCILER
        )
        return await self._transitions.submit(command)

    async def cancel(self, withdrawal_id: UUID, by: str = CLIENT) -> Status:
        """Return the held money if the bank was never called. Raises NotCancellable, WithdrawalNotFound."""
        return await self._transitions.submit(Cancel(withdrawal_id, by))

    async def replay(self, withdrawal_id: UUID, by: str = OPERATOR, after: timedelta = timedelta()) -> Status:
        """Try a withdrawal that requires attention again. Raises IllegalMove if it doesn't, WithdrawalNotFound."""
        return await self._transitions.submit(Replay(withdrawal_id, by, after))

    async def settle_by_hand(
        self,
        withdrawal_id: UUID,
        outcome: Paid | Declined,
        reason: str,
        by: str,
        proposed_at: datetime | None = None,
    ) -> Status:
        """End a withdrawal that requires attention, or as was proposed at that instant, and has been approved.

        Raises IllegalMove if it requires no attention or the proposal is not there any more, WithdrawalNotFound.
        """
        command = SettleByHand(withdrawal_id, outcome, reason, by, proposed_at)
        return await self._transitions.submit(command)

    async def _write_begins(
        self, connection: Any, asked: Sequence[_Begin]
    ) -> Sequence[Attempt | PayoutsPaused | None]:
        columns = zip(*set(asked), strict=True)
        async with autocommit(connection):
            rows = await connection.fetch(_SQL["begin"], *columns, self._lease)
        allowed = {row["allowed"] for row in rows}
        if allowed == {False}:
            return [PayoutsPaused("payouts are paused") for _ in asked]
        require(allowed == {True}, "whether payouts are allowed")
        begun = {row["id"]: Attempt(*whole(row, NULLABLE)[1:]) for row in rows if row["id"] is not None}
        # If two deliveries of one message meet in a batch, the first gets the attempt and the second nothing.
        return [begun.pop(one.withdrawal_id, None) for one in asked]

    async def _write_transitions(
        self, connection: Any, commands: Sequence[WithdrawalCommand]
    ) -> Sequence[Status | WalletError]:
        payments = payments_only(commands)
        completed = await complete(connection, payments) if payments else None
        if completed is not None:
            _count_ended(Status.COMPLETED, [payment[0] for payment in payments])
            return completed
        # Some command is not a payment, or some withdrawal is not processing: decide each command on its own.
        async with transaction(connection):
            transitions = await write_transitions(connection, commands, self._ladder)
            await record_attempts(connection, commands)
        if transitions.announced:
            self._notifier.notify()
        for row in transitions.history:
            if Status(row.status) in END_STATES:
                _count_ended(Status(row.status), [row.withdrawal_id])
        return transitions.outcomes


def _count_ended(status: Status, ids: Sequence[UUID]) -> None:
    """Count withdrawals that have just ended, and the time that each took: its identifier says when it was accepted.

    A return is no end that a client waits for, so its time is not counted.
    """
    WITHDRAWALS_ENDED.labels(status.value).inc(len(ids))
    ACTIVITY.count(f"end {status.value}", len(ids))
    if status is Status.RETURNED:
        return
    now = datetime.now(UTC)
    for id in ids:
        WITHDRAWAL_SECONDS.observe(max(0.0, (now - instant_of(id)).total_seconds()))

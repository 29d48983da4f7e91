"""Moves of withdrawals: attempts begun, outcomes written down, cancelled, returned, replayed, rung for again.

Each in a group commit: the moves of the 50 coroutines of an actor process share their transactions. A move is
compare-and-set: it takes effect only from the state it is legal in, however often and in whatever order it comes.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from db.books import lock_wallets, record
from db.errors import CareNeeded
from db.group_commit import GroupCommit
from db.held import held_withdrawals, held_withdrawals_or_wallets, names_of_move
from db.outbox import Doorbell
from db.pool import autocommit, transaction
from db.reconciliation import Known
from db.sql import load
from db.strict import require, require_tag, whole
from runtime.settings import Settings
from runtime.tasks import SupervisedTasks
from runtime.telemetry import WITHDRAWALS_ENDED
from wallet.commands import CLIENT, OPERATOR, RECONCILER, Cancel, Replay, Settle, WithdrawalCommand
from wallet.errors import WalletError
from wallet.ids import uuid7_ends
from wallet.moves import Ladder, Moves, Withdrawal
from wallet.outcomes import Paid, RoundOutcome, reference_text
from wallet.settle import decide_moves
from wallet.withdrawal import END_STATES, Status

_SQL = load("withdrawals")
_NULLABLE = (
    "destination",
    "reference",
    "failure_code",
    "failure_reason",
    "bank_reference",
    "accepted_at",
)


class PayoutsPaused(Exception):
    """No attempt may begin: payouts are paused, or it is not yet known whether history is whole."""


class Attempt(NamedTuple):
    """One round of bank calls that may begin now. `number` counts from 1."""

    withdrawal_id: UUID
    user_id: str
    currency: str
    amount: int
    destination: str | None
    """JSON text, as the client gave it."""
    number: int
    lease_until: datetime
    """No other attempt may begin before."""
    reference: UUID | None = None
    key_age_s: float = 0.0
    """How long ago the bank was first called, in seconds: its idempotency key is that old."""
    ask_first: bool = False
    """The bank may know of it: of an earlier attempt, or of one that is lost with our history."""
    accepted: bool = False
    """The bank said that it has it: it is never sent again."""
    conflict: bool = False
    """The bank knows the reference with another body."""

    @property
    def reference_text(self) -> str:
        """What the bank knows it by."""
        return reference_text(self.reference, self.withdrawal_id)


class _Begin(NamedTuple):
    withdrawal_id: UUID
    user_id: str


class Withdrawals:
    """Takes moves of withdrawals and answers each once it is committed.

    Methods raise Overloaded and Unavailable as `db.group_commit` says, besides what they name themselves.
    """

    def __init__(self, settings: Settings, tasks: SupervisedTasks | None = None) -> None:
        tasks = tasks or SupervisedTasks()
        self._doorbell = Doorbell(settings, tasks)
        self._lease = timedelta(milliseconds=settings.lease_ms)
        self._ladder = Ladder(
            settings.retry_rounds,
            timedelta(milliseconds=settings.retry_delay_ms_min),
            timedelta(milliseconds=settings.retry_delay_ms_max),
        )
        self._begins: GroupCommit[_Begin, Attempt | PayoutsPaused | None] = GroupCommit(
            "begin", settings, tasks, self._write_begins, names_of_move, held_withdrawals
        )
        self._moves: GroupCommit[WithdrawalCommand, Status] = GroupCommit(
            "moves", settings, tasks, self._write_moves, names_of_move, held_withdrawals_or_wallets
        )
        self.last_moves = self._moves.last_writes
        self.last_begins = self._begins.last_writes

    def start(self) -> None:
        """Begin to write; needs a running event loop, no server yet."""
        self._begins.start()
        self._moves.start()
        self._doorbell.start()

    async def stop(self) -> None:
        """Write what is waiting, then close the connections."""
        await self._begins.stop()
        await self._moves.stop()
        await self._doorbell.stop()

    async def begin_attempt(self, withdrawal_id: UUID, user_id: str) -> Attempt | None:
        """Write down that the bank is about to be called, and lease the withdrawal to the caller.

        None means that there is nothing to do: it has ended, requires attention, is not due, or another attempt
        holds the lease. Raises PayoutsPaused.
        """
        begun = await self._begins.submit(_Begin(withdrawal_id, user_id))
        if isinstance(begun, PayoutsPaused):
            raise begun
        return begun

    async def settle(self, attempt: Attempt, outcome: RoundOutcome) -> Status:
        """Write down how the attempt ended; return the state that follows. Late or doubled news change nothing.

        Raises IllegalMove if the bank contradicts what it said before.
        """
        command = Settle(attempt.withdrawal_id, attempt.user_id, attempt.number, outcome, attempt.lease_until)
        return await self._moves.submit(command)

    async def learn(self, known: Known, outcome: RoundOutcome) -> Status:
        """Write down what a look-up told; return the state that follows.

        `known` is the withdrawal as it was before the bank was asked. Raises IllegalMove if the bank contradicts
        what it said before, WithdrawalNotFound.
        """
        was_completed = known.status == Status.COMPLETED
        command = Settle(
            known.id, known.user_id, known.attempts, outcome, was_completed=was_completed, by=RECONCILER
        )
        return await self._moves.submit(command)

    async def cancel(self, withdrawal_id: UUID, by: str = CLIENT) -> Status:
        """Give the money back if the bank was never called. Raises NotCancellable, WithdrawalNotFound."""
        return await self._moves.submit(Cancel(withdrawal_id, by))

    async def replay(self, withdrawal_id: UUID, by: str = OPERATOR) -> Status:
        """Try again what requires attention. Raises IllegalMove if it doesn't, WithdrawalNotFound."""
        return await self._moves.submit(Replay(withdrawal_id, by))

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
        begun = {row["id"]: Attempt(*whole(row, _NULLABLE)[1:]) for row in rows if row["id"] is not None}
        # If two deliveries of one message meet in a batch, the first gets the attempt and the second nothing.
        return [begun.pop(one.withdrawal_id, None) for one in asked]

    async def _write_moves(
        self, connection: Any, commands: Sequence[WithdrawalCommand]
    ) -> Sequence[Status | WalletError]:
        if payments := _payments(commands):
            try:
                return await _complete(connection, payments)
            except CareNeeded:
                pass  # one of them is not processing: decide each on its own
        async with transaction(connection):
            moves = await self._move(connection, commands)
        return moves.outcomes

    async def _move(self, connection: Any, commands: Sequence[WithdrawalCommand]) -> Moves:
        rows = await connection.fetch(_SQL["lock"], list({c.withdrawal_id for c in commands}))
        withdrawals = {row["id"]: _withdrawal(whole(row, _NULLABLE)) for row in rows}
        ids = {(w.user_id, w.currency) for w in withdrawals.values()}
        locked = await lock_wallets(connection, ids)
        require(locked.wallets.keys() == ids, "a withdrawal without its wallet")
        moves = decide_moves(commands, withdrawals, locked.wallets, locked.now, self._ladder)
        if moves.transfers:
            await record(connection, moves.transfers, locked.wallets.values())
        if moves.changed:
            await self._write(connection, moves, locked.now)
        return moves

    async def _write(self, connection: Any, moves: Moves, now: Any) -> None:
        for step in _steps_before_the_last(moves):
            status = await connection.execute(_SQL["step"], *zip(*step, strict=True))
            require_tag(status, f"UPDATE {len(step)}")
        states = [
            (
                w.id,
                w.user_id,
                w.status.value,
                w.rounds,
                w.next_attempt_at,
                w.history_length,
                w.failure_code,
                w.failure_reason,
                w.bank_reference,
                w.updated_at,
                w.accepted_at,
            )
            for w in moves.changed.values()
        ]
        rung = [(w.id, w.user_id) for w in moves.rung]
        moved = await connection.fetchval(
            _SQL["move"],
            *zip(*states, strict=True),
            *(zip(*moves.history, strict=True) if moves.history else [()] * 7),
            *(zip(*rung, strict=True) if rung else [()] * 2),
            now,
        )
        require(moved == len(states), f"{moved} of {len(states)} withdrawals under lock were moved")
        if rung:
            self._doorbell.ring()
        for row in moves.history:
            if Status(row.status) in END_STATES:
                WITHDRAWALS_ENDED.labels(row.status).inc()


def _payments(commands: Sequence[WithdrawalCommand]) -> list[tuple[UUID, str, str, str]]:
    """Return what a batch of nothing but payments completes, in key order; nothing for another batch."""
    payments = [
        (command.withdrawal_id, command.user_id, command.outcome.payout_id, command.by)
        for command in commands
        if isinstance(command, Settle) and isinstance(command.outcome, Paid)
    ]
    return sorted(payments) if len(payments) == len(commands) else []


async def _complete(connection: Any, payments: list[tuple[UUID, str, str, str]]) -> list[Status]:
    """Complete withdrawals that are processing, as nearly all are that the bank says it paid, by one statement.

    Raises CareNeeded, and nothing of the batch stays, if one is in another state.
    """
    ends = [f"{end:016x}" for end, _ in zip(uuid7_ends(), payments, strict=False)]
    try:
        async with autocommit(connection):
            ids, users, references, by = zip(*payments, strict=True)
            status = await connection.execute(_SQL["complete"], ids, users, references, ends, by)
    except asyncpg.RaiseError as error:
        raise CareNeeded("not all of them are processing") from error
    require_tag(status, f"INSERT 0 {len(payments)}")
    WITHDRAWALS_ENDED.labels(Status.COMPLETED.value).inc(len(payments))
    return [Status.COMPLETED] * len(payments)


def _steps_before_the_last(moves: Moves) -> list[list[tuple[UUID, str, str, str | None]]]:
    """Return the moves that are not the last of their withdrawal in this batch: the first ones, the second ones, …

    The trigger that guards the states sees what one statement makes of a row, so each legal move needs its own.
    Seldom more than none: a return that overtook the news of its payment completes and returns at once.
    """
    by_withdrawal: dict[UUID, list[tuple[UUID, str, str, str | None]]] = {}
    for row in moves.history:
        reference = moves.changed[row.withdrawal_id].bank_reference
        by_withdrawal.setdefault(row.withdrawal_id, []).append(
            (row.withdrawal_id, row.user_id, row.status, reference)
        )
    steps: list[list[tuple[UUID, str, str, str | None]]] = []
    for rows in by_withdrawal.values():
        for number, step in enumerate(rows[:-1]):
            if number == len(steps):
                steps.append([])
            steps[number].append(step)
    return steps


def _withdrawal(row: Any) -> Withdrawal:
    return Withdrawal(
        row["id"],
        row["user_id"],
        row["currency"],
        row["amount"],
        Status(row["status"]),
        row["attempts"],
        row["rounds"],
        row["next_attempt_at"],
        row["history_length"],
        row["failure_code"],
        row["failure_reason"],
        row["bank_reference"],
        row["accepted_at"],
        row["may_be_known"],
        updated_at=row["updated_at"],
    )

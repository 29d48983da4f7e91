"""Writes what changes wallets according to the decisions of `wallet`, under lock, one transaction per batch.

Every process takes locks in the order withdrawals → wallets → keys, each sorted. The primary key of idempotency_keys
guarantees that a key is used once.

Nearly always all keys are new and all requests can be accepted. So the OptimisticWriter tries a batch first. The few
requests that are in doubt go to the LockingWriter in a lane of their own; or all do, if they are many or cannot be
told. A property test compares the two writers (`wallet.optimistic`).
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from operator import attrgetter
from typing import Any

from db.completions import SetApart
from db.errors import Rejected
from db.follow_up_writer import write_follow_ups
from db.group_commit import GroupCommit
from db.held import held_follow_ups, held_wallets, names_of_command, names_of_follow_up
from db.ledger_writes import Outcome
from db.locking_writer import LockingWriter
from db.optimistic_writer import IN_DOUBT_PART, OptimisticWriter
from db.outbox import OutboxNotifier
from db.releases import ReleaseLane
from runtime.activity import ACTIVITY
from runtime.settings import Settings
from runtime.tasks import SupervisedTasks
from wallet.commands import LedgerCommand, Withdraw, rows_of_command
from wallet.decision import ReleasesNeeded
from wallet.errors import Overloaded, WalletError
from wallet.follow_up_commands import FollowUp, rows_of_follow_up
from wallet.receipts import Recorded

_LOCKING_BATCHES = 8
"""Number of batches that go to the LockingWriter after one that needed it: replays and refusals seldom come alone."""


class Ledger:
    """Accepts whatever changes wallets, and answers each request after its commit."""

    def __init__(self, settings: Settings, tasks: SupervisedTasks | None = None) -> None:
        tasks = tasks or SupervisedTasks()
        redrive_after = timedelta(milliseconds=settings.redrive_after_ms)
        self._limits = settings.limits
        self._optimistic = OptimisticWriter(redrive_after, settings.bank_prefix or None, self._limits)
        self._locking = LockingWriter(redrive_after, settings.bank_prefix or None, self._limits)
        self._notifier = OutboxNotifier(settings.database, tasks)
        self._group_commit: GroupCommit[LedgerCommand, Recorded] = GroupCommit(
            "ledger",
            settings.database,
            settings.batches,
            tasks,
            self._write_batch,
            names_of_command,
            held_wallets,
            order=attrgetter("user_id", "currency"),
            rows_of=rows_of_command,
        )
        # What is in doubt is written under locks beside the others: one refusal must not slow a batch of charges.
        self._doubtful: GroupCommit[LedgerCommand, Recorded] = GroupCommit(
            "ledger_doubtful",
            settings.database,
            settings.batches,
            tasks,
            self._write_doubtful,
            names_of_command,
            held_wallets,
            rows_of=rows_of_command,
        )
        self.last_doubtful_writes = self._doubtful.last_writes
        self._releases = ReleaseLane(settings.database, tasks, self._resubmit)
        self.last_writes = self._group_commit.last_writes
        # What is about holds, charges and transfers reads them under lock: a lane of its own keeps the other one fast.
        self._follow_ups: GroupCommit[FollowUp, Recorded] = GroupCommit(
            "follow_ups",
            settings.database,
            settings.batches,
            tasks,
            self._write_follow_ups,
            names_of_follow_up,
            held_follow_ups,
            rows_of=rows_of_follow_up,
        )
        self.last_follow_ups = self._follow_ups.last_writes
        self._locking_batches = 0
        """Number of the next batches that go to the LockingWriter."""

    def start(self) -> None:
        """Begin to write. Needs a running event loop, but no server yet."""
        self._group_commit.start()
        self._doubtful.start()
        self._follow_ups.start()
        self._releases.start()
        self._notifier.start()

    async def stop(self) -> None:
        """Write the waiting requests, then close the connections."""
        await self._releases.stop()
        await self._group_commit.stop()
        await self._doubtful.stop()
        await self._follow_ups.stop()
        await self._notifier.stop()

    def submit(self, command: LedgerCommand) -> "asyncio.Future[Recorded]":
        """Return the future of the receipt after the commit; of the first receipt if the key was used before.

        The future may raise ValidationFailed, InsufficientFunds, BalanceLimitExceeded, IdempotencyKeyReused (no money
        moved; a refused request leaves its key free), or Unavailable (the request may or may not have taken effect).
        If the request is not accepted, `submit` itself raises Overloaded or Unavailable.
        """
        return self._group_commit.submit(command)

    def follow_up(self, command: FollowUp) -> "asyncio.Future[Recorded]":
        """Return the future of the receipt of a capture, void or reversal, as `submit` does.

        The future may also raise HoldNotFound, HoldNotOpen, CaptureExceedsHold, ChargeNotFound, TransferNotFound and
        ExceedsOriginal.
        """
        return self._follow_ups.submit(command)

    def _resubmit(self, command: LedgerCommand | FollowUp, future: "asyncio.Future[Recorded]") -> None:
        if isinstance(command, FollowUp):
            self._follow_ups.resubmit(command, future)
        else:
            self._group_commit.resubmit(command, future)

    async def _write_follow_ups(
        self, connection: Any, commands: Sequence[FollowUp]
    ) -> Sequence[Recorded | WalletError | SetApart[Recorded]] | Rejected:
        written = await write_follow_ups(connection, commands, self._limits)
        if isinstance(written, Rejected):
            return written
        _count(commands, written)
        return self._with_set_apart(commands, written)

    def _with_set_apart(
        self, commands: Sequence[LedgerCommand | FollowUp], outcomes: Sequence[Outcome]
    ) -> Sequence[Recorded | WalletError | SetApart[Recorded]]:
        return [
            SetApart(partial(self._releases.take, command, outcome))
            if isinstance(outcome, ReleasesNeeded)
            else outcome
            for command, outcome in zip(commands, outcomes, strict=True)
        ]

    async def _write_batch(
        self, connection: Any, commands: Sequence[LedgerCommand]
    ) -> Sequence[Recorded | WalletError | SetApart[Recorded]] | Rejected:
        written: Sequence[Recorded | WalletError | SetApart[Recorded]] | Rejected
        if self._locking_batches or self._counts(commands):
            written = await self._write_locking(connection, commands)
        else:
            recorded = await self._optimistic.write(connection, commands)
            if isinstance(recorded, Rejected):
                written = await self._write_without_doubtful(connection, commands)
            else:
                written = self._with_doubtful(commands, recorded)
        self._notify(commands, written)
        return written

    def _with_doubtful(
        self, commands: Sequence[LedgerCommand], recorded: Sequence[Recorded | None]
    ) -> list[Recorded | SetApart[Recorded]]:
        """Return the answers, with those commands set apart that are in doubt (None)."""
        return [
            SetApart(partial(self._take_doubtful, command)) if one is None else one
            for command, one in zip(commands, recorded, strict=True)
        ]

    def _counts(self, commands: Sequence[LedgerCommand]) -> bool:
        """Return whether locks or holds have to be counted under lock, which only limits ask for."""
        limited = self._limits.open_locks or self._limits.open_holds
        return bool(limited) and any(map(self._limits.counts, commands))

    def _take_doubtful(self, command: LedgerCommand, future: "asyncio.Future[Recorded]") -> None:
        if self._doubtful.is_full:
            raise Overloaded("too many requests are waiting")
        self._doubtful.resubmit(command, future)

    async def _write_without_doubtful(
        self, connection: Any, commands: Sequence[LedgerCommand]
    ) -> Sequence[Recorded | WalletError | SetApart[Recorded]] | Rejected:
        """Set apart the commands that are in doubt, if they are few, and write the others; or write all under locks."""
        doubtful = await self._optimistic.in_doubt(connection, commands)
        if 0 < len(doubtful) <= len(commands) // IN_DOUBT_PART:
            others = [command for place, command in enumerate(commands) if place not in doubtful]
            written = await self._optimistic.write(connection, others)
            if not isinstance(written, Rejected):
                receipts = iter(written)
                return self._with_doubtful(
                    commands,
                    [None if place in doubtful else next(receipts) for place in range(len(commands))],
                )
        self._locking_batches = _LOCKING_BATCHES
        return await self._write_locking(connection, commands)

    async def _write_locking(
        self, connection: Any, commands: Sequence[LedgerCommand]
    ) -> Sequence[Recorded | WalletError | SetApart[Recorded]] | Rejected:
        """Write a batch under locks, and decide which way the next batches go."""
        written = await self._write_under_locks(connection, commands)
        if isinstance(written, Rejected):
            if written.missing_wallets:
                self._locking_batches = 0  # once the wallets exist, the whole batch may be accepted
            return written
        refused = sum(isinstance(one, WalletError) for one in written)
        replayed = any(isinstance(one, Recorded) and one.replayed for one in written)
        if replayed or refused > len(commands) // IN_DOUBT_PART:
            self._locking_batches = _LOCKING_BATCHES
        elif refused:
            self._locking_batches = 0  # so few are left out by the other way's statement
        else:
            self._locking_batches = max(0, self._locking_batches - 1)
        return written

    async def _write_doubtful(
        self, connection: Any, commands: Sequence[LedgerCommand]
    ) -> Sequence[Recorded | WalletError | SetApart[Recorded]] | Rejected:
        written = await self._write_under_locks(connection, commands)
        self._notify(commands, written)
        return written

    async def _write_under_locks(
        self, connection: Any, commands: Sequence[LedgerCommand]
    ) -> Sequence[Recorded | WalletError | SetApart[Recorded]] | Rejected:
        written = await self._locking.write(connection, commands)
        if isinstance(written, Rejected):
            await self._locking.prepare(connection, written)
            return written
        return self._with_set_apart(commands, written)

    def _notify(self, commands: Sequence[LedgerCommand], written: Sequence[object] | Rejected) -> None:
        """Let relays know at once if withdrawals were written, and count what was."""
        if isinstance(written, Rejected):
            return
        _count(commands, written)
        if any(isinstance(command, Withdraw) for command in commands):
            self._notifier.notify()


def _count(commands: Sequence[LedgerCommand | FollowUp], written: Sequence[object]) -> None:
    """Count what took effect, by the kind of the command."""
    kinds = Counter(
        type(command).__name__
        for command, answer in zip(commands, written, strict=True)
        if isinstance(answer, Recorded) and not answer.replayed
    )
    for kind, number in kinds.items():
        ACTIVITY.count(f"write {kind}", number)

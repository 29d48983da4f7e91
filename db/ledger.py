"""Writes charges and withdrawals according to the decisions of `wallet.decide`, under lock, one transaction per batch.

Every process takes locks in the order withdrawals → wallets → keys, each sorted. The primary key of idempotency_keys
guarantees that a key is used once.

Nearly always all keys are new and all requests can be accepted. So the OptimisticWriter tries a batch first, and the
LockingWriter writes it only if the first one rejects it. A property test compares the two (`wallet.optimistic`).
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from operator import attrgetter
from typing import Any

from db.completions import SetApart
from db.errors import Rejected
from db.group_commit import GroupCommit
from db.held import held_wallets, names_of_command
from db.locking_writer import LockingWriter
from db.optimistic_writer import OptimisticWriter
from db.outbox import OutboxNotifier
from db.releases import ReleaseLane
from runtime.settings import Settings
from runtime.tasks import SupervisedTasks
from wallet.commands import LedgerCommand, Withdraw
from wallet.decide import Recorded, ReleasesNeeded
from wallet.errors import WalletError

_LOCKING_BATCHES = 8
"""Number of batches that go to the LockingWriter after one that needed it: replays and refusals seldom come alone."""


class Ledger:
    """Accepts charges and withdrawals, and answers each after its commit."""

    def __init__(self, settings: Settings, tasks: SupervisedTasks | None = None) -> None:
        tasks = tasks or SupervisedTasks()
        redrive_after = timedelta(milliseconds=settings.redrive_after_ms)
        self._optimistic = OptimisticWriter(redrive_after, settings.bank_prefix or None)
        self._locking = LockingWriter(redrive_after, settings.bank_prefix or None)
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
        )
        self._releases = ReleaseLane(settings.database, tasks, self._group_commit.resubmit)
        self.last_writes = self._group_commit.last_writes
        self._locking_batches = 0
        """Number of the next batches that go to the LockingWriter."""

    def start(self) -> None:
        """Begin to write. Needs a running event loop, but no server yet."""
        self._group_commit.start()
        self._releases.start()
        self._notifier.start()

    async def stop(self) -> None:
        """Write the waiting requests, then close the connections."""
        await self._releases.stop()
        await self._group_commit.stop()
        await self._notifier.stop()

    def submit(self, command: LedgerCommand) -> "asyncio.Future[Recorded]":
        """Return the future of the receipt after the commit; of the first receipt if the key was used before.

        The future may raise ValidationFailed, InsufficientFunds, BalanceLimitExceeded, IdempotencyKeyReused (no money
        moved; a refused request leaves its key free), or Unavailable (the request may or may not have taken effect).
        If the request is not accepted, `submit` itself raises Overloaded or Unavailable.
        """
        return self._group_commit.submit(command)

    async def _write_batch(
        self, connection: Any, commands: Sequence[LedgerCommand]
    ) -> Sequence[Recorded | WalletError | SetApart[Recorded]] | Rejected:
        written: Sequence[Recorded | WalletError | SetApart[Recorded]] | Rejected
        if self._locking_batches:
            written = await self._write_locking(connection, commands)
        else:
            written = await self._optimistic.write(connection, commands)
            if isinstance(written, Rejected):
                self._locking_batches = _LOCKING_BATCHES
                written = await self._write_locking(connection, commands)
        if isinstance(written, Rejected):
            return written
        if any(isinstance(command, Withdraw) for command in commands):
            self._notifier.notify()
        return written

    async def _write_locking(
        self, connection: Any, commands: Sequence[LedgerCommand]
    ) -> Sequence[Recorded | WalletError | SetApart[Recorded]] | Rejected:
        written = await self._locking.write(connection, commands)
        if isinstance(written, Rejected):
            if written.missing_wallets:
                self._locking_batches = 0  # once the wallets exist, the whole batch may be accepted
            await self._locking.prepare(connection, written)
            return written
        if any(isinstance(o, WalletError) or (isinstance(o, Recorded) and o.replayed) for o in written):
            self._locking_batches = _LOCKING_BATCHES
        else:
            self._locking_batches -= 1
        return [
            SetApart(partial(self._releases.take, command, outcome))
            if isinstance(outcome, ReleasesNeeded)
            else outcome
            for command, outcome in zip(commands, written, strict=True)
        ]

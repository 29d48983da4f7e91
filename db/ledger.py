"""Writes charges and withdrawals: what `wallet.decide` decided, under lock, in one transaction a batch.

One batch, whatever its size: lock the wallets, decide, write. Locks are taken in the order withdrawals → wallets
→ keys by every process, each sorted. The unique key of idempotency_keys is what guarantees that a key is used
once.

Nearly always all keys are new and all requests can be accepted. So a batch is first written in that hope, by one
statement that locks, checks that it is so, and writes (`wallet.expect`). If it is not so, the statement undoes
itself and the batch is written carefully: look up the keys, lock, decide, and write what was decided.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from operator import attrgetter
from typing import Any

from db.answering import SetApart
from db.books import (
    Locked,
    create_wallets,
    end_locks,
    list_matured,
    lock_wallets,
    record,
    write_expected,
)
from db.errors import CareNeeded, DecideAgain
from db.group_commit import GroupCommit
from db.held import held_wallets, names_of_command
from db.outbox import Doorbell
from db.pool import autocommit, transaction
from db.releases import ReleaseLane
from db.sql import load
from db.strict import require, require_tag, rows_of, whole
from runtime.settings import Settings
from runtime.tasks import SupervisedTasks
from wallet.commands import Charge, LedgerCommand, Withdraw
from wallet.decide import (
    ChargeReceipt,
    Decision,
    KeyId,
    KeyRecord,
    Recorded,
    ReleasesNeeded,
    WithdrawReceipt,
    decide,
)
from wallet.errors import WalletError
from wallet.expect import expect
from wallet.ledger import MaturedLock, Wallet, WalletId
from wallet.reference import reference_end

_SQL = load("ledger")

_CAREFUL_BATCHES = 8
"""Batches written carefully after one that needed it: replays and refusals seldom come alone."""


class Ledger:
    """Takes charges and withdrawals and answers each once it is committed."""

    def __init__(self, settings: Settings, tasks: SupervisedTasks | None = None) -> None:
        tasks = tasks or SupervisedTasks()
        self._doorbell = Doorbell(settings, tasks)
        self._ring_after = timedelta(milliseconds=settings.redrive_after_ms)
        self._bank_prefix = settings.bank_prefix or None
        self._group_commit: GroupCommit[LedgerCommand, Recorded] = GroupCommit(
            "ledger",
            settings,
            tasks,
            self._write_batch,
            names_of_command,
            held_wallets,
            order=attrgetter("user_id", "currency"),
        )
        self._releases = ReleaseLane(settings, tasks, self._group_commit.resubmit)
        self.last_writes = self._group_commit.last_writes
        self._careful_batches = 0
        """Batches to come that are written carefully."""

    def start(self) -> None:
        """Begin to write; needs a running event loop, no server yet."""
        self._group_commit.start()
        self._releases.start()
        self._doorbell.start()

    async def stop(self) -> None:
        """Write what is waiting, then close the connections."""
        await self._releases.stop()
        await self._group_commit.stop()
        await self._doorbell.stop()

    def submit(self, command: LedgerCommand) -> "asyncio.Future[Recorded]":
        """Return what will be the receipt once the movement is committed; the first one if the key was used before.

        Or what it raises: ValidationFailed, InsufficientFunds, BalanceLimitExceeded, IdempotencyKeyReused (nothing
        moved, a refused request leaves its key free), or Unavailable (may or may not have taken effect). What is not
        even taken raises at once: Overloaded, or Unavailable.
        """
        return self._group_commit.submit(command)

    async def _write_batch(
        self, connection: Any, commands: Sequence[LedgerCommand]
    ) -> Sequence[Recorded | WalletError | SetApart[Recorded]]:
        if not self._careful_batches:
            try:
                receipts = await write_expected(
                    connection, expect(commands), self._ring_after, self._bank_prefix
                )
            except CareNeeded:
                self._careful_batches = _CAREFUL_BATCHES
            else:
                if any(isinstance(command, Withdraw) for command in commands):
                    self._doorbell.ring()
                return [Recorded(receipt, replayed=False) for receipt in receipts]
        async with transaction(connection):
            outcomes = await self._write_carefully(connection, commands)
        if any(isinstance(o, WalletError) or (isinstance(o, Recorded) and o.replayed) for o in outcomes):
            self._careful_batches = _CAREFUL_BATCHES
        elif self._careful_batches:
            self._careful_batches -= 1
        return outcomes

    async def _write_carefully(
        self, connection: Any, commands: Sequence[LedgerCommand]
    ) -> Sequence[Recorded | WalletError | SetApart[Recorded]]:
        ids = {(command.user_id, command.currency) for command in commands}
        keys = {(command.space, command.key) for command in commands}
        withdraws = {reference_end(one): one for one in reversed(commands) if isinstance(one, Withdraw)}
        references = [(command.user_id, end) for end, command in withdraws.items()]
        locked = await lock_wallets(connection, ids, keys, references, self._bank_prefix)
        if adopted := _without_key(withdraws, locked):
            remedy = partial(_claim_adopted, withdraws=adopted, bank_prefix=self._bank_prefix)
            raise DecideAgain("they are withdrawals that were adopted from the bank's books", remedy)
        missing = _to_create(commands, locked.wallets, locked.used_keys)
        if missing:
            # Not here, under lock: who waits for a wallet that somebody else is just creating must hold no other.
            # Once they are there, the batch hopes again.
            self._careful_batches = 0
            raise DecideAgain("wallets are not there yet", partial(create_wallets, ids=missing))
        known = await _known(connection, locked.used_keys) if locked.used_keys else {}
        wallets = locked.wallets
        for id in ids - wallets.keys():
            wallets[id] = Wallet(*id, at=locked.now)
        matured = await _matured(connection, commands, locked.wallets, locked.now)
        decision = decide(commands, known, wallets, locked.now)
        await self._write(connection, decision, wallets, matured, locked.now)
        return [
            SetApart(partial(self._releases.take, command, outcome))
            if isinstance(outcome, ReleasesNeeded)
            else outcome
            for command, outcome in zip(commands, decision.outcomes, strict=True)
        ]

    async def _write(
        self,
        connection: Any,
        decision: Decision,
        wallets: dict[WalletId, Wallet],
        matured: Sequence[MaturedLock],
        now: datetime,
    ) -> None:
        if decision.transfers:
            await record(connection, decision.transfers, wallets.values(), decision.keys)
        if decision.locks:
            rows = [(t.user_id, t.currency, t.release_at, t.id, t.amount) for t in decision.locks]
            status = await connection.execute(_SQL["record_locks"], *zip(*rows, strict=True))
            require_tag(status, f"INSERT 0 {len(rows)}")
        if decision.releases:
            await end_locks(connection, decision.releases, matured)
        if decision.withdrawals:
            new = [(*receipt, made_by, end) for receipt, made_by, end in decision.withdrawals]
            status = await connection.execute(
                _SQL["record_withdrawals"],
                *zip(*new, strict=True),
                now,
                now + self._ring_after,
                self._bank_prefix,
            )
            require_tag(status, f"INSERT 0 {len(new)}")
            self._doorbell.ring()


def _to_create(
    commands: Sequence[LedgerCommand], wallets: dict[WalletId, Wallet], used_keys: list[KeyId]
) -> set[WalletId]:
    """Return the wallets that come into being: by their first charge (an empty one, if it is refused)."""
    return {
        (command.user_id, command.currency)
        for command in commands
        if isinstance(command, Charge)
        and (command.user_id, command.currency) not in wallets
        and (command.space, command.key) not in used_keys
    }


def _without_key(withdraws: dict[str, Withdraw], locked: Locked) -> dict[str, Withdraw]:
    """Return the requests, by the ends of their references, that are known by these and by no key."""
    return {
        end: withdraws[end]
        for end in locked.known_references
        if (withdraws[end].space, withdraws[end].key) not in locked.used_keys
    }


async def _claim_adopted(connection: Any, withdraws: dict[str, Withdraw], bank_prefix: str | None) -> None:
    """Write the keys of these requests for the withdrawals that they are, in a transaction of its own."""
    rows = [
        (w.user_id, end, w.space, w.key, w.fingerprint(), w.destination, w.metadata)
        for end, w in withdraws.items()
    ]
    async with autocommit(connection):
        tag = await connection.execute(_SQL["claim_adopted"], *zip(*rows, strict=True), bank_prefix)
        rows_of(tag, "UPDATE")


async def _known(connection: Any, used_keys: list[KeyId]) -> dict[KeyId, KeyRecord]:
    """Read what the used keys stand for."""
    rows = await connection.fetch(_SQL["receipts"], *zip(*used_keys, strict=True))
    known: dict[KeyId, KeyRecord] = {}
    for row in rows:
        whole(row, ("release_at", "destination", "metadata"))
        head = (row["id"], row["user_id"], row["currency"], row["amount"])
        tail = (row["metadata"], row["created_at"])
        if row["kind"] == "charge":
            receipt: ChargeReceipt | WithdrawReceipt = ChargeReceipt(*head, row["release_at"], *tail)
        else:
            receipt = WithdrawReceipt(*head, row["destination"], *tail)
        known[row["client"], row["key"]] = KeyRecord(row["fingerprint"], receipt)
    require(known.keys() == set(used_keys), "a used key that stands for nothing")
    return known


async def _matured(
    connection: Any, commands: Sequence[LedgerCommand], wallets: dict[WalletId, Wallet], now: Any
) -> list[MaturedLock]:
    """List matured locks where a withdrawal may need them: only there do they make a difference."""
    wanted: dict[WalletId, int] = defaultdict(int)
    for command in commands:
        if isinstance(command, Withdraw):
            wanted[command.user_id, command.currency] += command.amount
    short = [
        wallets[id] for id, amount in wanted.items() if wallets[id].locked and wallets[id].available < amount
    ]
    if not short:
        return []
    await list_matured(connection, short, now)
    return [lock for wallet in short for lock in wallet.matured]

"""Writes charges and withdrawals: what `wallet.decide` decided, under lock, in one transaction a batch.

One batch, whatever its size: lock the wallets, decide, write. Locks are taken in the order withdrawals → wallets
→ keys by every process, each sorted. The unique key of idempotency_keys is what guarantees that a key is used
once. To look each up first would cost a tenth of the whole, and nearly all are new: a batch takes them to be new.
If one is not, or if a request would be refused (a replay never is), nothing of the batch stays, and it is decided
anew with its keys looked up; so are some batches after it.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from db.books import create_wallets, end_locks, list_matured, lock_wallets, record
from db.errors import DecideAgain, KeysNotLookedUp
from db.group_commit import GroupCommit
from db.outbox import Doorbell
from db.releases import release_all_in
from db.sql import load
from wallet.commands import Charge, LedgerCommand, Withdraw
from wallet.config import Settings
from wallet.decide import (
    ChargeReceipt,
    Decision,
    KeyId,
    KeyRecord,
    Recorded,
    WithdrawReceipt,
    decide,
)
from wallet.errors import WalletError
from wallet.ids import uuid7_sequence
from wallet.ledger import MaturedLock, Wallet, WalletId

_SQL = load("ledger")

_LOOKUPS = 100
"""Batches whose keys are looked up after one that needed it: replays and refusals seldom come alone."""


class Ledger:
    """Takes charges and withdrawals and answers each once it is committed."""

    def __init__(self, settings: Settings) -> None:
        self._doorbell = Doorbell(settings)
        self._ring_after = timedelta(milliseconds=settings.redrive_after_ms)
        self._group_commit: GroupCommit[LedgerCommand, Recorded] = GroupCommit(
            "ledger", settings, self._write_batch, self._held_elsewhere
        )
        self._held_for = timedelta(milliseconds=settings.lock_timeout_ms / 2)
        self._lookups_left = 0
        """Batches to come whose keys are looked up before they are decided."""

    def start(self) -> None:
        """Begin to write; needs a running event loop, no server yet."""
        self._group_commit.start()
        self._doorbell.start()

    async def stop(self) -> None:
        """Write what is waiting, then close the connections."""
        await self._group_commit.stop()
        await self._doorbell.stop()

    async def submit(self, command: LedgerCommand) -> Recorded:
        """Return the receipt once the movement is committed, or the first one if the key was used before.

        Raises ValidationFailed, InsufficientFunds, BalanceLimitExceeded, IdempotencyKeyReused (nothing moved, a
        refused request leaves its key free), Overloaded, or Unavailable (may or may not have taken effect).
        """
        return await self._group_commit.enqueue(command)

    def enqueue(self, command: LedgerCommand) -> "asyncio.Future[Recorded]":
        """Take the command, return what `submit` waits for. Raises Overloaded or Unavailable if not taken."""
        return self._group_commit.enqueue(command)

    async def _write_batch(
        self, connection: Any, commands: Sequence[LedgerCommand]
    ) -> Sequence[Recorded | WalletError]:
        look_up = self._lookups_left > 0
        try:
            decision = await self._decide_and_write(connection, commands, look_up)
        except KeysNotLookedUp:
            self._lookups_left = _LOOKUPS
            raise
        if look_up:
            special = any(isinstance(one, WalletError) or one.replayed for one in decision.outcomes)
            self._lookups_left = _LOOKUPS if special else self._lookups_left - 1
        return decision.outcomes

    async def _decide_and_write(
        self, connection: Any, commands: Sequence[LedgerCommand], look_up: bool
    ) -> Decision:
        ids = {(command.user_id, command.currency) for command in commands}
        keys = {(command.client, command.key) for command in commands} if look_up else set()
        locked = await lock_wallets(connection, ids, keys)
        missing = _to_create(commands, locked.wallets, locked.used_keys)
        if missing:
            await create_wallets(connection, missing)
            locked = await lock_wallets(connection, ids, keys)
        known = await _known(connection, locked.used_keys) if locked.used_keys else {}
        wallets = locked.wallets
        for id in ids - wallets.keys():
            wallets[id] = Wallet(*id)
        matured = await _matured(connection, commands, locked.wallets, locked.now)
        decision = decide(commands, known, wallets, locked.now, uuid7_sequence(locked.now))
        if not look_up and any(isinstance(outcome, WalletError) for outcome in decision.outcomes):
            raise KeysNotLookedUp("what is refused now may have been accepted before")
        if decision.starved:
            remedy = partial(release_all_in, ids=sorted(decision.starved))
            raise DecideAgain("more locks had matured than one batch releases", remedy)
        await self._write(connection, decision, wallets, matured)
        return decision

    async def _held_elsewhere(self, connection: Any, commands: Sequence[LedgerCommand]) -> list[bool]:
        ids = [(command.user_id, command.currency) for command in commands]
        rows = await connection.fetch(_SQL["held_elsewhere"], *zip(*set(ids), strict=True), self._held_for)
        held = {(row["user_id"], row["currency"]) for row in rows}
        return [id in held for id in ids]

    async def _write(
        self,
        connection: Any,
        decision: Decision,
        wallets: dict[WalletId, Wallet],
        matured: Sequence[MaturedLock],
    ) -> None:
        if decision.transfers:
            await record(connection, decision.transfers, wallets.values(), decision.keys)
        if decision.locks:
            rows = [(t.user_id, t.currency, t.release_at, t.id, t.amount) for t in decision.locks]
            await connection.execute(_SQL["record_locks"], *zip(*rows, strict=True))
        if decision.releases:
            await end_locks(connection, decision.releases, matured)
        if decision.withdrawals:
            columns = zip(*decision.withdrawals, strict=True)
            await connection.execute(_SQL["record_withdrawals"], *columns, self._ring_after)
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
        and (command.client, command.key) not in used_keys
    }


async def _known(connection: Any, used_keys: list[KeyId]) -> dict[KeyId, KeyRecord]:
    """Read what the used keys stand for."""
    rows = await connection.fetch(_SQL["receipts"], *zip(*used_keys, strict=True))
    known: dict[KeyId, KeyRecord] = {}
    for row in rows:
        head = (row["id"], row["user_id"], row["currency"], row["amount"])
        tail = (row["metadata"], row["created_at"])
        if row["kind"] == "charge":
            receipt: ChargeReceipt | WithdrawReceipt = ChargeReceipt(*head, row["release_at"], *tail)
        else:
            receipt = WithdrawReceipt(*head, row["destination"], *tail)
        known[row["client"], row["key"]] = KeyRecord(row["fingerprint"], receipt)
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

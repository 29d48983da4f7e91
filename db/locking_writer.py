"""Writes any batch, even if requests are refused: look up the keys, lock, decide, and write the decisions."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from db.connections import autocommit
from db.errors import Rejected
from db.ledger_writes import (
    Locked,
    Outcome,
    count_open,
    create_wallets,
    insert,
    list_matured,
    lock_wallets,
    record_decision,
    used_meanwhile,
    write_under_locks,
)
from db.receipts import receipts_of
from db.sql import load
from db.strict import require_tag
from wallet.commands import Charge, LedgerCommand, MakeTransfer, Withdraw, wallets_of
from wallet.decide import decide
from wallet.decision import Decision
from wallet.ledger import MaturedLock, Wallet, WalletId
from wallet.limits import UNLIMITED, Limits
from wallet.receipts import KeyId
from wallet.reference import reference_end

_SQL = load("ledger")


class LockingWriter:
    """Locks the wallets, lets `wallet.decide` decide request by request, and writes the result, in one transaction.

    Its parameters are those of `db.optimistic_writer.OptimisticWriter`.
    """

    def __init__(self, redrive_after: timedelta, bank_prefix: str | None, limits: Limits = UNLIMITED) -> None:
        self._redrive_after = redrive_after
        self._bank_prefix = bank_prefix
        self._limits = limits

    async def write(self, connection: Any, commands: Sequence[LedgerCommand]) -> Sequence[Outcome] | Rejected:
        """Write the batch; return the outcome of each request, in order, or the reason why nothing was written."""
        return await write_under_locks(connection, partial(self._decide_and_write, connection, commands))

    async def prepare(self, connection: Any, rejected: Rejected) -> None:
        """Write the rows for want of which a batch was rejected, so that it can be written again.

        This must not happen under the batch's locks: a session that waits for a wallet which another session is just
        creating must hold no lock.
        """
        if rejected.missing_wallets:
            await create_wallets(connection, rejected.missing_wallets)
        if rejected.adopted:
            await self._claim_adopted(connection, rejected.adopted)

    async def _decide_and_write(
        self, connection: Any, commands: Sequence[LedgerCommand]
    ) -> Sequence[Outcome] | Rejected:
        ids = {id for command in commands for id in wallets_of(command)}
        keys = {(command.space, command.key) for command in commands}
        withdraws = {reference_end(one): one for one in reversed(commands) if isinstance(one, Withdraw)}
        references = [(command.user_id, end) for end, command in withdraws.items()]
        locked = await lock_wallets(connection, ids, keys, references, self._bank_prefix)
        if adopted := _without_key(withdraws, locked):
            return Rejected("withdrawals were adopted from the bank's books", adopted=adopted)
        if missing := _to_create(commands, locked.wallets, locked.used_keys):
            return Rejected("wallets are not there yet", missing_wallets=missing)
        known = await receipts_of(connection, locked.used_keys)
        wallets = locked.wallets
        for id in ids - wallets.keys():
            wallets[id] = Wallet(*id, at=locked.now)
        matured = await _matured(connection, commands, wallets, locked.now)
        counted = [id for command in commands if self._limits.counts(command) for id in wallets_of(command)]
        await count_open(connection, counted, wallets, locked.now)
        decision = decide(commands, known, wallets, locked.now, self._limits)
        if await used_meanwhile(connection, commands, decision.outcomes, locked, self._bank_prefix):
            return Rejected("a refused request has taken effect meanwhile")
        await self._write(connection, decision, wallets, matured, locked.now)
        return decision.outcomes

    async def _write(
        self,
        connection: Any,
        decision: Decision,
        wallets: dict[WalletId, Wallet],
        matured: Sequence[MaturedLock],
        now: datetime,
    ) -> None:
        await record_decision(connection, decision, wallets.values(), matured)
        if decision.holds:
            holds = [(*receipt[:7], made_by) for receipt, made_by in decision.holds]
            await insert(connection, _SQL["record_holds"], holds)
        if decision.withdrawals:
            new = [
                (*one.receipt, one.made_by, one.reference_end, *(one.trace or (None, None)))
                for one in decision.withdrawals
            ]
            due = (now, now + self._redrive_after, self._bank_prefix)
            await insert(connection, _SQL["record_withdrawals"], new, *due)

    async def _claim_adopted(self, connection: Any, withdraws: Mapping[str, Withdraw]) -> None:
        """Write the keys of these requests for their adopted withdrawals, in a transaction of its own."""
        rows = [
            (w.user_id, end, w.space, w.key, w.fingerprint(), w.destination, w.metadata)
            for end, w in withdraws.items()
        ]
        async with autocommit(connection):
            tag = await connection.execute(_SQL["claim_adopted"], *zip(*rows, strict=True), self._bank_prefix)
            require_tag(tag, "SELECT 1")


def _to_create(
    commands: Sequence[LedgerCommand], wallets: dict[WalletId, Wallet], used_keys: list[KeyId]
) -> frozenset[WalletId]:
    """Return the wallets to create: those of first charges, and of payees where the payer may have the money.

    It may come within the batch: by a charge, or by another transfer. (They stay empty if the request is then refused.)
    """
    missing: set[WalletId] = set()
    coming: dict[WalletId, int] = defaultdict(int)
    for command in commands:
        if (command.space, command.key) in used_keys:
            continue
        id = (command.user_id, command.currency)
        if isinstance(command, Charge):
            missing.add(id)
            coming[id] += command.amount
        elif isinstance(command, MakeTransfer):
            payer = wallets.get(id)
            if (0 if payer is None else payer.total) + coming[id] >= command.amount:
                missing.update(wallets_of(command))
                for leg in command.legs:
                    coming[leg.to_user_id, command.currency] += leg.amount
    return frozenset(missing - wallets.keys())


def _without_key(withdraws: dict[str, Withdraw], locked: Locked) -> dict[str, Withdraw]:
    """Return the requests, by the ends of their references, whose reference is in use and whose key is not."""
    return {
        end: withdraws[end]
        for end in locked.known_references
        if (withdraws[end].space, withdraws[end].key) not in locked.used_keys
    }


async def _matured(
    connection: Any, commands: Sequence[LedgerCommand], wallets: dict[WalletId, Wallet], now: Any
) -> list[MaturedLock]:
    """List what has matured in wallets whose money is wanted and may not suffice: only there does it matter."""
    wanted: dict[WalletId, int] = defaultdict(int)
    for command in commands:
        if not isinstance(command, Charge):
            wanted[command.user_id, command.currency] += command.amount
    short = [
        wallets[id]
        for id, amount in wanted.items()
        if wallets[id].available < amount and (wallets[id].locked or wallets[id].held)
    ]
    if not short:
        return []
    await list_matured(connection, short, now)
    return [lock for wallet in short for lock in wallet.matured]

"""Writes captures, voids and reversals: find their wallets, lock these, read the facts, decide, and write."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from db.connections import transaction
from db.errors import Rejected
from db.ledger_writes import (
    count_open,
    create_wallets,
    end_locks,
    is_used_key,
    list_matured,
    lock_wallets,
    record,
    record_legs,
    record_locks,
)
from db.receipts import receipts_of
from db.sql import load
from db.strict import require, require_tag, whole
from wallet.decide_follow_ups import decide_follow_ups
from wallet.decision import ReleasesNeeded
from wallet.errors import WalletError
from wallet.follow_up_commands import CaptureHold, FollowUp, VoidHold, subjects_of
from wallet.follow_ups import Facts, FollowUps, Hold, Source, Transferred
from wallet.ledger import MaturedLock, Wallet, WalletId
from wallet.limits import UNLIMITED, Limits
from wallet.receipts import Recorded

_SQL = load("follow_ups")
_LEDGER = load("ledger")

Outcome = Recorded | WalletError | ReleasesNeeded


class _NothingWritten(Exception):
    """Rolls the transaction back."""


async def write_follow_ups(
    connection: Any, commands: Sequence[FollowUp], limits: Limits = UNLIMITED
) -> Sequence[Outcome] | Rejected:
    """Write the batch in one transaction; return the outcome of each command, or why nothing was written.

    Wallets that are wanted for it are created first, in a transaction of their own.
    """
    try:
        async with transaction(connection):
            written = await _write(connection, commands, limits)
            if isinstance(written, Rejected):
                raise _NothingWritten
    except _NothingWritten:
        assert isinstance(written, Rejected)
        await create_wallets(connection, written.missing_wallets)
    except asyncpg.UniqueViolationError as error:
        if is_used_key(error):
            return Rejected("an idempotency key was used meanwhile")
        raise
    return written


async def _write(
    connection: Any, commands: Sequence[FollowUp], limits: Limits
) -> Sequence[Outcome] | Rejected:
    holds, charges, transfers = subjects_of(commands)
    rows = await connection.fetch(_SQL["find"], holds, charges, transfers)
    ids = {(row["user_id"], row["currency"]) for row in rows}
    before = await _facts(connection, holds, (), ()) if holds else Facts()
    payees = _payees(commands, before)
    keys = {(c.space, c.key) for c in commands if not isinstance(c, VoidHold)}
    locked = await lock_wallets(connection, ids | payees, keys)
    if missing := payees - locked.wallets.keys():
        return Rejected("wallets are not there yet", missing_wallets=frozenset(missing))
    require(ids <= locked.wallets.keys(), "a hold, charge or transfer without its wallet")
    known = await receipts_of(connection, locked.used_keys)
    facts = await _facts(connection, holds, charges, transfers)
    matured = await _matured(connection, facts, locked.wallets, locked.now)
    if limits.open_locks:
        await count_open(connection, payees, locked.wallets, locked.now)
    decision = decide_follow_ups(commands, known, facts, locked.wallets, locked.now, limits)
    await _record(connection, decision, locked.wallets, matured)
    return decision.outcomes


def _payees(commands: Sequence[FollowUp], before: Facts) -> set[WalletId]:
    """Return the wallets that captures pay into, where the hold is there and open."""
    payees: set[WalletId] = set()
    for command in commands:
        if not isinstance(command, CaptureHold):
            continue
        hold = before.holds.get(command.hold_id)
        if hold is not None and hold.status == "open":
            users = [leg.to_user_id for leg in command.legs] or [command.to_user_id or ""]
            payees.update((user_id, hold.currency) for user_id in users if user_id)
    return payees


async def _facts(
    connection: Any, holds: Sequence[UUID], charges: Sequence[UUID], transfers: Sequence[UUID]
) -> Facts:
    facts = Facts()
    if holds:
        for row in await connection.fetch(_SQL["holds"], holds):
            facts.holds[row["id"]] = Hold(*whole(row, ("expires_at", "transfer_id", "metadata")))
    if charges:
        for row in await connection.fetch(_SQL["charges"], charges):
            facts.charges[row["id"]] = Source(*whole(row, ("release_at",)))
    if transfers:
        for row in await connection.fetch(_SQL["legs"], transfers):
            id, from_user_id, number, *source = whole(row, ("release_at",))
            leg = Source(*source)
            transfer = facts.transfers.setdefault(id, Transferred(id, from_user_id, leg.currency, {}))
            transfer.legs[number] = leg
    return facts


async def _matured(
    connection: Any, facts: Facts, wallets: dict[WalletId, Wallet], now: Any
) -> list[MaturedLock]:
    """List what has matured in the wallets that reversals take money from."""
    legs = (leg for transfer in facts.transfers.values() for leg in transfer.legs.values())
    ids = {(source.user_id, source.currency) for source in (*facts.charges.values(), *legs)}
    taken = [wallets[id] for id in sorted(ids) if wallets[id].locked or wallets[id].held]
    if not taken:
        return []
    await list_matured(connection, taken, now)
    return [lock for wallet in taken for lock in wallet.matured]


async def _record(
    connection: Any,
    decision: FollowUps,
    wallets: dict[WalletId, Wallet],
    matured: Sequence[MaturedLock],
) -> None:
    if not decision.transfers:
        return
    await record(connection, decision.transfers, wallets.values(), decision.keys)
    if decision.legs:
        await record_legs(connection, decision.legs)
    if decision.locks:
        await record_locks(connection, decision.locks)
    if decision.releases:
        await end_locks(connection, decision.releases, matured)
    if decision.reduced_locks:
        await _reduce_locks(connection, decision.reduced_locks.values())
    if decision.ended_holds:
        holds = [
            (h.id, h.user_id, h.status, h.captured, h.transfer_id, at)
            for h, at in decision.ended_holds.values()
        ]
        await _change(connection, _SQL["end_holds"], holds)
    if decision.reversals:
        await _insert(connection, _SQL["record_reversals"], decision.reversals)
    if decision.reversed_charges:
        sums: dict[UUID, int] = defaultdict(int)
        charges = {source.id: source for source, _ in decision.reversed_charges}
        for source, amount in decision.reversed_charges:
            sums[source.id] += amount
        rows = [(id, charges[id].user_id, charges[id].amount, amount) for id, amount in sums.items()]
        await _change(connection, _SQL["reverse_charges"], rows)
    if decision.reversed_legs:
        legs: dict[tuple[UUID, str, int], int] = defaultdict(int)
        for leg in decision.reversed_legs:
            legs[leg.transfer_id, leg.user_id, leg.leg] += leg.amount
        await _change(connection, _SQL["reverse_legs"], [(*id, amount) for id, amount in legs.items()])
        details = [(r.reversal_id, r.user_id, r.leg, r.amount, r.send_id) for r in decision.reversed_legs]
        await _insert(connection, _SQL["record_reversal_legs"], details)


async def _reduce_locks(connection: Any, sources: Iterable[Source]) -> None:
    """Write what reversals have left of locks; end those of which nothing is left."""
    rows = [(s.user_id, s.currency, s.release_at, s.id, s.locked) for s in sources]
    if left := [row for row in rows if row[4]]:
        await _change(connection, _SQL["reduce_locks"], left)
    if ended := [(user_id, currency, id, at) for user_id, currency, at, id, locked in rows if not locked]:
        status = await connection.execute(_LEDGER["end_locks"], *zip(*ended, strict=True))
        require_tag(status, f"DELETE {len(ended)}")


async def _insert(connection: Any, statement: str, rows: Sequence[Sequence[Any]]) -> None:
    """Execute a statement that writes each of the rows, given by columns. Raises MalformedAnswer otherwise."""
    status = await connection.execute(statement, *zip(*rows, strict=True))
    require_tag(status, f"INSERT 0 {len(rows)}")


async def _change(connection: Any, statement: str, rows: Sequence[Sequence[Any]]) -> None:
    """Execute a statement that changes each of the rows and says whether it is as told.

    Raises MalformedAnswer unless all are.
    """
    changed = await connection.fetch(statement, *zip(*rows, strict=True))
    as_told = sum(row["as_told"] is True for row in changed)
    require(as_told == len(changed) == len(rows), f"{as_told} of {len(rows)} rows were changed as told")

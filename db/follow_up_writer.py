"""Writes captures, voids, reversals, adjustments: find their wallets, lock these, read the facts, decide, and write.

A batch of captures is tried in one statement first, after one look at its holds; it nearly always can be accepted.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from db.connections import autocommit
from db.errors import Rejected
from db.ledger_writes import (
    Outcome,
    count_open,
    create_wallets,
    insert,
    list_matured,
    lock_wallets,
    record_decision,
    remove_locks,
    used_meanwhile,
    write_under_locks,
)
from db.optimistic_writer import write_captures
from db.receipts import receipts_of
from db.sql import load
from db.strict import require, whole
from wallet.adjustments import Adjust
from wallet.decide_follow_ups import decide_follow_ups
from wallet.follow_up_commands import CaptureHold, FollowUp, VoidHold, subjects_of
from wallet.follow_ups import Facts, FollowUps, Hold, Source, Transferred
from wallet.ledger import MaturedLock, Wallet, WalletId
from wallet.limits import UNLIMITED, Limits
from wallet.optimistic_captures import optimistic_captures

_SQL = load("follow_ups")


async def write_follow_ups(
    connection: Any, commands: Sequence[FollowUp], limits: Limits = UNLIMITED
) -> Sequence[Outcome] | Rejected:
    """Write the batch in one transaction; return the outcome of each command, or why nothing was written.

    Wallets that are wanted for it are created first, in a transaction of their own.
    """
    if all(type(command) is CaptureHold for command in commands):
        captured = await _capture_at_once(connection, commands, limits)
        if not isinstance(captured, Rejected):
            return captured
    written = await write_under_locks(connection, partial(_write, connection, commands, limits))
    if isinstance(written, Rejected) and written.missing_wallets:
        await create_wallets(connection, written.missing_wallets)
    return written


async def _capture_at_once(
    connection: Any, commands: Sequence[FollowUp], limits: Limits
) -> Sequence[Outcome] | Rejected:
    """Write a batch of captures in one statement, if their holds are as they were read and all can be accepted."""
    async with autocommit(connection):
        facts = await _facts(connection, subjects_of(commands)[0], (), ())
    batch = optimistic_captures(commands, facts.holds, limits=limits)
    if batch is None:
        return Rejected("a capture has to be decided under locks")
    return await write_captures(connection, batch)


async def _write(
    connection: Any, commands: Sequence[FollowUp], limits: Limits
) -> Sequence[Outcome] | Rejected:
    holds, charges, transfers = subjects_of(commands)
    if charges or transfers:
        await connection.execute(_SQL["stay"])
    rows = await connection.fetch(_SQL["find"], holds, charges, transfers)
    ids = {(row["user_id"], row["currency"]) for row in rows}
    before = await _facts(connection, holds, (), ()) if holds else Facts()
    adjusted = {command.wallet for command in commands if isinstance(command, Adjust)}
    payees = _payees(commands, before) | adjusted
    keys = {(c.space, c.key) for c in commands if not isinstance(c, VoidHold)}
    locked = await lock_wallets(connection, ids | payees, keys)
    if missing := payees - locked.wallets.keys():
        return Rejected("wallets are not there yet", missing_wallets=frozenset(missing))
    require(ids <= locked.wallets.keys(), "a hold, charge or transfer without its wallet")
    known = await receipts_of(connection, locked.used_keys)
    facts = await _facts(connection, holds, charges, transfers)
    matured = await _matured(connection, facts, adjusted, locked.wallets, locked.now)
    if limits.open_locks:
        await count_open(connection, payees, locked.wallets, locked.now)
    decision = decide_follow_ups(commands, known, facts, locked.wallets, locked.now, limits)
    if await used_meanwhile(connection, commands, decision.outcomes, locked):
        return Rejected("a refused command has taken effect meanwhile")
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
            payees.update((user_id, hold.currency) for user_id in command.payees())
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
    connection: Any, facts: Facts, adjusted: set[WalletId], wallets: dict[WalletId, Wallet], now: Any
) -> list[MaturedLock]:
    """List what has matured in the wallets that reversals and adjustments take money from."""
    legs = (leg for transfer in facts.transfers.values() for leg in transfer.legs.values())
    ids = {(source.user_id, source.currency) for source in (*facts.charges.values(), *legs)}
    ids |= adjusted
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
    await record_decision(connection, decision, wallets.values(), matured)
    if decision.reduced_locks:
        await _reduce_locks(connection, decision.reduced_locks.values())
    if decision.ended_holds:
        holds = [
            (h.id, h.user_id, h.status, h.captured, h.transfer_id, at)
            for h, at in decision.ended_holds.values()
        ]
        await _change(connection, _SQL["end_holds"], holds)
    if decision.reversals:
        await insert(connection, _SQL["record_reversals"], decision.reversals)
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
        await insert(connection, _SQL["record_reversal_legs"], details)


async def _reduce_locks(connection: Any, sources: Iterable[Source]) -> None:
    """Write what reversals have left of locks; end those of which nothing is left."""
    rows = [(s.user_id, s.currency, s.release_at, s.id, s.locked) for s in sources]
    if left := [row for row in rows if row[4]]:
        await _change(connection, _SQL["reduce_locks"], left)
    if ended := [(user_id, currency, id, at) for user_id, currency, at, id, locked in rows if not locked]:
        await remove_locks(connection, ended)


async def _change(connection: Any, statement: str, rows: Sequence[Sequence[Any]]) -> None:
    """Execute a statement that changes each of the rows and says whether it is as told.

    Raises MalformedAnswer unless all are.
    """
    changed = await connection.fetch(statement, *zip(*rows, strict=True))
    as_told = sum(row["as_told"] is True for row in changed)
    require(as_told == len(changed) == len(rows), f"{as_told} of {len(rows)} rows were changed as told")

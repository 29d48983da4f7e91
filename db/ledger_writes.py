"""The steps of every change of balances: lock the wallets, then write the transfers and the balances."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from db.connections import autocommit, transaction
from db.errors import Rejected
from db.sql import load
from db.strict import one, require, require_tag, rows_of, whole
from wallet.commands import KeyedCommand, Withdraw
from wallet.decision import Decision, NewKey, ReleasesNeeded
from wallet.errors import WalletError
from wallet.ledger import Kind, MaturedLock, Transfer, Wallet, WalletId
from wallet.receipts import KeyId, Recorded
from wallet.reference import reference_end

_SQL = load("ledger")

_NO_KEYS: Mapping[UUID, NewKey] = MappingProxyType({})
_NO_KEY = (None, None, None)

_TOLD_ONCE = ("used", "known_references")

Outcome = Recorded | WalletError | ReleasesNeeded

MATURED_MAX = 500
"""Number of matured locks of one wallet that one batch may release, as many as its requests need."""


class Locked(NamedTuple):
    """The existing wallets, under lock; the database's clock after the lock; and the keys and references in use."""

    wallets: dict[WalletId, Wallet]
    now: datetime
    used_keys: list[KeyId]
    known_references: list[str]
    """Ends of the references that existing withdrawals have."""


async def lock_wallets(
    connection: Any,
    ids: Iterable[WalletId],
    keys: Iterable[KeyId] = (),
    references: Iterable[tuple[str, str]] = (),
    bank_prefix: str | None = None,
) -> Locked:
    """Lock the wallets until the transaction ends, in key order, as every process does.

    `references` holds users and ends of bank references; the result names those that existing withdrawals have.
    """
    rows = await connection.fetch(
        _SQL["lock_wallets"], *_split(ids), *_split(keys), *_split(references), bank_prefix
    )
    wallets = {
        (row["user_id"], row["currency"]): Wallet(
            row["user_id"], row["currency"], row["available"], row["locked"], row["held"], at=row["at"]
        )
        for row in rows
        if row["user_id"] is not None and whole(row, _TOLD_ONCE)
    }
    require(bool(rows) and rows[0]["now"] is not None, "the clock after the last lock")
    used = [tuple(text.split("\x1f", 1)) for text in rows[0]["used"] or ()]
    return Locked(wallets, rows[0]["now"], used, rows[0]["known_references"] or [])


async def used_meanwhile(
    connection: Any,
    commands: Sequence[object],
    outcomes: Sequence[Outcome],
    locked: Locked,
    bank_prefix: str | None = None,
) -> bool:
    """Return whether a refused command has taken effect while its wallets, now under lock, were waited for.

    `lock_wallets` looks at keys and references before it waits. So a command that is sent twice can meet what it has
    done itself, in another process, and be refused for that: the money is gone, the charge is reversed already.
    """
    refused = [
        command
        for command, outcome in zip(commands, outcomes, strict=True)
        if isinstance(command, KeyedCommand)
        and isinstance(outcome, WalletError)
        and (command.space, command.key) not in locked.used_keys
    ]
    if not refused:
        return False
    keys = {(command.space, command.key) for command in refused}
    references = {(one.user_id, reference_end(one)) for one in refused if isinstance(one, Withdraw)}
    rows = await connection.fetch(_SQL["used_meanwhile"], *_split(keys), *_split(references), bank_prefix)
    return bool(one(rows)["used"])


async def create_wallets(connection: Any, ids: Iterable[WalletId]) -> None:
    """Create the missing wallets, in a transaction of their own."""
    async with autocommit(connection):
        rows_of(await connection.execute(_SQL["create_wallets"], *_split(ids)), "INSERT 0")


async def count_open(
    connection: Any, ids: Iterable[WalletId], wallets: Mapping[WalletId, Wallet], now: datetime
) -> None:
    """Fill in how many locks and holds these wallets have open. They must be under lock."""
    if not (wanted := set(ids)):
        return
    for row in await connection.fetch(_SQL["count_open"], *_split(wanted), now):
        wallet = wallets[row["user_id"], row["currency"]]
        wallet.open_locks, wallet.open_holds = whole(row)["locks"], row["holds"]


async def list_matured(connection: Any, wallets: Sequence[Wallet], now: datetime) -> None:
    """Fill in the matured locks of the wallets, the oldest first, at most MATURED_MAX per wallet."""
    by_id = {(wallet.user_id, wallet.currency): wallet for wallet in wallets}
    rows = await connection.fetch(_SQL["matured_locks"], *_split(by_id), now, MATURED_MAX + 1)
    for row in rows:
        require(whole(row)["release_at"] <= now, "a lock that has not matured")
        wallet = by_id[row["user_id"], row["currency"]]
        if len(wallet.matured) == MATURED_MAX:
            wallet.matured_complete = False
        else:
            wallet.matured.append(
                MaturedLock(row["charge_id"], row["release_at"], row["amount"], row["account"])
            )


async def record(
    connection: Any,
    transfers: Sequence[Transfer],
    wallets: Iterable[Wallet],
    keys: Mapping[UUID, NewKey] = _NO_KEYS,
) -> None:
    """Write transfers, their keys and the resulting balances of the wallets.

    Raises asyncpg.UniqueViolationError if one of the keys was used before (`is_used_key`).
    """
    movements = [
        (
            t.id,
            t.user_id,
            t.currency,
            t.kind,
            t.debit_account,
            t.credit_account,
            t.amount,
            t.available_after,
            t.locked_after,
            t.held_after,
            None if t.reference is t.id else t.reference,
            t.release_at,
            t.metadata,
            t.created_at,
            t.made_by,
            t.peer_user_id,
            t.effective_at,
            *keys.get(t.id, _NO_KEY),
        )
        for t in transfers
    ]
    # Also those whose balances are as before, because as much came as went: they have a later last instant.
    moved = {(t.user_id, t.currency) for t in transfers}
    changes = [
        (w.user_id, w.currency, *w.change(), w.at) for w in wallets if (w.user_id, w.currency) in moved
    ]
    # Only the gateway has keys to write, and the right to.
    statement = _SQL["record"] if keys else _SQL["record_without_keys"]
    written = dict(one(await connection.fetch(statement, movements, changes)))
    told = {"transfers": len(movements), "wallets": len(changes)} | ({"keys": len(keys)} if keys else {})
    require(written == told, f"{written} was written instead of {told}")


class _NothingWritten(Exception):
    """Rolls the transaction back."""


async def write_under_locks(
    connection: Any, decide_and_write: Callable[[], Awaitable[Sequence[Outcome] | Rejected]]
) -> Sequence[Outcome] | Rejected:
    """Do it in one transaction, which is rolled back if it comes to Rejected, or if a key was used meanwhile."""
    try:
        async with transaction(connection):
            written = await decide_and_write()
            if isinstance(written, Rejected):
                raise _NothingWritten
    except _NothingWritten:
        return written
    except asyncpg.UniqueViolationError as error:
        if is_used_key(error):
            return Rejected("an idempotency key was used meanwhile")
        raise
    return written


async def insert(connection: Any, statement: str, rows: Sequence[Sequence[Any]], *more: Any) -> None:
    """Execute a statement that writes each of the rows, given by columns. Raises MalformedAnswer otherwise."""
    status = await connection.execute(statement, *zip(*rows, strict=True), *more)
    require_tag(status, f"INSERT 0 {len(rows)}")


async def end_locks(connection: Any, releases: Sequence[Transfer], released: Iterable[MaturedLock]) -> None:
    """Remove the locks whose releases have been written; holds among them have expired."""
    release_at = {lock.source_id: lock.release_at for lock in released}
    await remove_locks(
        connection, [(t.user_id, t.currency, t.reference, release_at[t.reference]) for t in releases]
    )
    expired = [(t.reference, t.user_id, t.created_at) for t in releases if t.kind == Kind.VOID]
    if expired:
        status = await connection.execute(_SQL["expire_holds"], *zip(*expired, strict=True))
        require_tag(status, f"UPDATE {len(expired)}")


async def remove_locks(connection: Any, rows: Sequence[tuple[str, str, UUID, datetime | None]]) -> None:
    """Remove locks, given by user, currency, source and instant. Raises MalformedAnswer if one is not there."""
    status = await connection.execute(_SQL["end_locks"], *zip(*rows, strict=True))
    require_tag(status, f"DELETE {len(rows)}")


async def record_decision(
    connection: Any, decision: Decision, wallets: Iterable[Wallet], matured: Iterable[MaturedLock]
) -> None:
    """Write what all decisions have in common: transfers with keys and balances, legs, locks, and ends of locks."""
    if decision.transfers:
        await record(connection, decision.transfers, wallets, decision.keys)
    if decision.legs:
        await insert(connection, _SQL["record_legs"], decision.legs)
    if decision.locks:
        await insert(connection, _SQL["record_locks"], decision.locks)
    if decision.releases:
        await end_locks(connection, decision.releases, matured)


def is_used_key(error: asyncpg.UniqueViolationError) -> bool:
    """Return whether an idempotency key was used before, perhaps by a request committed meanwhile."""
    return bool(error.constraint_name == "idempotency_keys_pkey")


def is_known_reference(error: asyncpg.UniqueViolationError) -> bool:
    """Return whether a withdrawal has this reference already, for example one adopted from the bank's books."""
    return bool(error.constraint_name == "withdrawals_reference")


def _split(pairs: Iterable[tuple[str, str]]) -> tuple[list[str], list[str]]:
    ordered = sorted(pairs)
    return [first for first, _ in ordered], [second for _, second in ordered]

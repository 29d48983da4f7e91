"""Releases in the background: money whose `release_at` has come goes from locked to available in the books.

Nobody waits for this to be right, since every read and every decision counts matured locks by itself; it keeps
the number of matured locks small, so that reads stay cheap.
"""

from typing import Any

from db.books import end_locks, list_matured, lock_wallets, record
from db.pool import transaction
from db.sql import load
from wallet.ledger import Kind, WalletId

_SQL = load("ledger")


async def release_matured(connection: Any, *, wallets_max: int = 20) -> int:
    """Release what has matured in up to `wallets_max` wallets; return how many locks ended."""
    rows = await connection.fetch(_SQL["wallets_with_matured_locks"], wallets_max)
    if not rows:
        return 0
    return await release_in(connection, [(row["user_id"], row["currency"]) for row in rows])


async def release_in(connection: Any, ids: list[WalletId]) -> int:
    """Release what has matured in these wallets, up to a bound each, in a transaction of its own."""
    async with transaction(connection):
        locked = await lock_wallets(connection, ids)
        wallets = list(locked.wallets.values())
        await list_matured(connection, wallets, locked.now)
        matured, releases = [], []
        for wallet in wallets:
            matured += wallet.matured
            releases += [
                wallet.move(Kind.RELEASE, lock.amount, reference=lock.charge_id) for lock in wallet.matured
            ]
        if releases:
            await record(connection, releases, wallets)
            await end_locks(connection, releases, matured)
        return len(releases)


async def release_all_in(connection: Any, ids: list[WalletId]) -> None:
    """Release everything that has matured in these wallets, however much, step by step."""
    while await release_in(connection, ids):
        pass

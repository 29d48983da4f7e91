"""The chaos runs' own hand on the database: what administrators, other programs and a clock do to it.

No request ever comes here. Each function connects by itself and raises one of `db.errors.DATABASE_ERRORS` if that
is not possible just now; none leaves anything behind that outlasts its own end by more than seconds.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from db.sql import load

_SQL = load("queries", Path(__file__).parent)
_NAME = "wbs chaos"
_TIMEOUT_S = 5.0

TABLES = (
    "wallets",
    "transfers",
    "locks",
    "withdrawals",
    "withdrawal_history",
    "idempotency_keys",
    "outbox",
    "heartbeats",
)
"""What an ALTER TABLE, VACUUM FULL or REINDEX may keep for itself."""

CONNECTIONS_MAX = 400


@asynccontextmanager
async def _session(database_url: str) -> AsyncIterator[Any]:
    settings = {"application_name": _NAME, "default_transaction_read_only": "off", "lock_timeout": "3s"}
    connection = await asyncpg.connect(database_url, timeout=_TIMEOUT_S, server_settings=settings)
    try:
        yield connection
    finally:
        connection.terminate()


async def hold_table(database_url: str, table: str, seconds: float) -> None:
    """Lock a table against everybody, also readers, for so long. LockNotAvailableError if it can't be had."""
    assert table in TABLES
    async with _session(database_url) as connection:
        # Sent together, they are one transaction, which ends with the sleep, whatever becomes of us meanwhile.
        statements = f"{_SQL['lock_table'] % table}; {_SQL['sleep'] % f'{seconds:.3f}'}"
        await connection.execute(statements, timeout=seconds + _TIMEOUT_S)


async def set_read_only(database_url: str, read_only: bool) -> None:
    """Let every transaction of the server be read-only from now on, or writable again."""
    async with _session(database_url) as connection:
        await connection.execute(_SQL["read_only" if read_only else "writable"], timeout=_TIMEOUT_S)
        await connection.execute(_SQL["reload"], timeout=_TIMEOUT_S)


async def use_up_connections(database_url: str, seconds: float) -> int:
    """Open connections until the server gives no more, and keep them for so long; return how many."""
    held: list[Any] = []
    try:
        while len(held) < CONNECTIONS_MAX:
            try:
                settings = {"application_name": _NAME}
                held.append(await asyncpg.connect(database_url, timeout=_TIMEOUT_S, server_settings=settings))
            except asyncpg.TooManyConnectionsError:
                break
        await asyncio.sleep(seconds)
    finally:
        for connection in held:
            connection.terminate()
    return len(held)


async def cancel_queries(database_url: str) -> int:
    """Cancel what all other sessions are doing; return how many there are."""
    async with _session(database_url) as connection:
        count: int = await connection.fetchval(_SQL["cancel_all"], _NAME, timeout=_TIMEOUT_S)
        return count


async def end_sessions(database_url: str) -> int:
    """End all other sessions; return how many there were."""
    async with _session(database_url) as connection:
        count: int = await connection.fetchval(_SQL["terminate_all"], _NAME, timeout=_TIMEOUT_S)
        return count


async def set_clock_back(database_url: str, seconds: float) -> None:
    """Let the clock of all sessions be behind by so many seconds (0: right again). They are begun anew."""
    async with _session(database_url) as connection:
        database = '"' + await connection.fetchval(_SQL["name"], timeout=_TIMEOUT_S) + '"'
        if seconds:
            await connection.execute(_SQL["make_clock"], timeout=_TIMEOUT_S)
            await connection.execute(_SQL["set_clock"] % f"{seconds:.3f}", timeout=_TIMEOUT_S)
            await connection.execute(_SQL["use_clock"] % database, timeout=_TIMEOUT_S)
        else:
            await connection.execute(_SQL["forget_clock"] % database, timeout=_TIMEOUT_S)
            await connection.execute(_SQL["drop_clock"], timeout=_TIMEOUT_S)
    await end_sessions(database_url)


async def has_synchronous_standby(database_url: str) -> bool:
    """Tell whether commits of this server wait for another one."""
    async with _session(database_url) as connection:
        return bool(await connection.fetchval(_SQL["has_synchronous_standby"], timeout=_TIMEOUT_S))

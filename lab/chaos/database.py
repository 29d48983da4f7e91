"""The chaos runs' own access to the database: the effects of administrators, other programs and a clock on it.

No request ever comes here. Each function opens its own connection and raises one of `db.errors.DATABASE_ERRORS` if that
is not possible now; nothing that a function leaves behind outlasts it by more than seconds.
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
"""Tables that an ALTER TABLE, VACUUM FULL or REINDEX may lock exclusively."""

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
    """Lock a table against all sessions, including readers, for this time. LockNotAvailableError if it is not free."""
    assert table in TABLES
    async with _session(database_url) as connection:
        # Sent together, they are one transaction, which ends with the sleep, whatever happens to us meanwhile.
        statements = f"{_SQL['lock_table'] % table}; {_SQL['sleep'] % f'{seconds:.3f}'}"
        await connection.execute(statements, timeout=seconds + _TIMEOUT_S)


async def set_read_only(database_url: str, read_only: bool) -> None:
    """Make every transaction of the server read-only from now on, or writable again."""
    async with _session(database_url) as connection:
        await connection.execute(_SQL["read_only" if read_only else "writable"], timeout=_TIMEOUT_S)
        await connection.execute(_SQL["reload"], timeout=_TIMEOUT_S)


async def use_up_connections(database_url: str, seconds: float) -> int:
    """Open connections until the server accepts no more, and keep them for this time; return their number."""
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
    """Cancel the queries of all other sessions; return the number of sessions."""
    async with _session(database_url) as connection:
        count: int = await connection.fetchval(_SQL["cancel_all"], _NAME, timeout=_TIMEOUT_S)
        return count


async def end_sessions(database_url: str) -> int:
    """End all other sessions; return their number."""
    async with _session(database_url) as connection:
        count: int = await connection.fetchval(_SQL["terminate_all"], _NAME, timeout=_TIMEOUT_S)
        return count


async def set_clock_back(database_url: str, seconds: float) -> None:
    """Set the clock of all sessions back by these seconds (0: right again). All sessions are restarted."""
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
    """Return whether commits of this server wait for another server."""
    async with _session(database_url) as connection:
        return bool(await connection.fetchval(_SQL["has_synchronous_standby"], timeout=_TIMEOUT_S))

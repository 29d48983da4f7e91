"""Connections: how one is opened, and the pool for reads. Each with its limits in time and number."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from db.errors import CONNECTION_ERRORS
from wallet.config import Settings
from wallet.errors import Unavailable

Connection = asyncpg.Connection[asyncpg.Record] if hasattr(asyncpg.Connection, "__class_getitem__") else Any
Pool = Any

_CONNECT_TIMEOUT_S_MIN = 1.5


def _server_settings(settings: Settings) -> dict[str, str]:
    return {
        "application_name": "wbs",
        "lock_timeout": str(settings.lock_timeout_ms),
        # A frozen process must not hold its locks for longer than others are willing to wait.
        "idle_in_transaction_session_timeout": str(2 * settings.write_timeout_ms),
        "statement_timeout": str(20 * settings.write_timeout_ms),
        # All statements are fixed and go by primary key. A generic plan saves planning at each batch; without
        # sequential scans it stays right when it was made while the tables were still empty.
        "plan_cache_mode": "force_generic_plan",
        "enable_seqscan": "off",
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
        "jit": "off",
        "timezone": "UTC",
    }


async def connect(settings: Settings, *, command_timeout_s: float | None = None) -> Any:
    """Open one connection. Raises one of `db.errors.CONNECTION_ERRORS` within the time of a write, 1.5 s at least.

    `command_timeout_s` bounds each statement; whoever leaves it out has a deadline of its own.
    """
    timeout_s = max(_CONNECT_TIMEOUT_S_MIN, settings.write_timeout_ms / 1000)
    async with asyncio.timeout(timeout_s):
        return await asyncpg.connect(
            settings.database_url,
            timeout=timeout_s,
            command_timeout=command_timeout_s,
            server_settings=_server_settings(settings),
        )


@asynccontextmanager
async def transaction(connection: Any) -> AsyncIterator[None]:
    """Commit what the block does, or nothing of it.

    A block that is cut off (cancelled, or its connection failed) costs the connection: to roll back would be
    to wait for a server that may not answer, beyond every deadline. The server rolls back when it sees the end.
    """
    # Plain statements: asyncpg's transaction object costs as much again as the round trips it makes.
    try:
        await connection.execute("begin")
        yield
        await connection.execute("commit")
    except (asyncio.CancelledError, *CONNECTION_ERRORS):
        connection.terminate()
        raise
    except Exception:
        await connection.execute("rollback")
        raise


@asynccontextmanager
async def autocommit(connection: Any) -> AsyncIterator[None]:
    """Run one statement that is a transaction of its own. Cut off, it costs the connection, as in `transaction`."""
    try:
        yield
    except (asyncio.CancelledError, *CONNECTION_ERRORS):
        connection.terminate()
        raise


async def open_pool(settings: Settings, *, size: int | None = None) -> Any:
    """Open the pool for reads; it opens its connections when they are needed, so this works without a server."""
    return await asyncpg.create_pool(
        settings.database_url,
        min_size=0,
        max_size=size or settings.db_pool_size,
        timeout=max(_CONNECT_TIMEOUT_S_MIN, settings.read_timeout_ms / 1000),
        command_timeout=settings.read_timeout_ms / 1000,
        server_settings=_server_settings(settings),
        reset=_no_reset,
    )


async def _no_reset(connection: Any) -> None:
    """Nothing to reset: we never change a session's state, and asyncpg's reset costs a round trip a query."""


class Reader(ABC):
    """Runs queries, with a bound on how long each takes."""

    def __init__(self, settings: Settings) -> None:
        self._timeout_s = settings.read_timeout_ms / 1000

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """Return the rows. Raises Unavailable if the database does not answer in time, a second try included."""
        try:
            async with asyncio.timeout(self._timeout_s):
                try:
                    return await self._fetch_once(query, arguments)
                except TimeoutError:
                    raise
                except CONNECTION_ERRORS:
                    # A connection that died since its last use fails once; a new one tells whether the server is up.
                    return await self._fetch_once(query, arguments)
        except TimeoutError as error:
            raise Unavailable("the database did not answer in time") from error
        except CONNECTION_ERRORS as error:
            raise Unavailable("the database can't be reached") from error

    async def fetchrow(self, query: str, *arguments: Any) -> Any | None:
        """Return the first row, or None. Raises Unavailable."""
        rows = await self.fetch(query, *arguments)
        return rows[0] if rows else None

    @abstractmethod
    async def _fetch_once(self, query: str, arguments: tuple[Any, ...]) -> list[Any]:
        """Return the rows. Raises CONNECTION_ERRORS; the next call is to be on another connection then."""


class PoolReader(Reader):
    """Runs queries on the pool, in order of arrival."""

    def __init__(self, pool: Any, settings: Settings) -> None:
        super().__init__(settings)
        self._pool = pool
        # The pool gives a free connection to whoever asks just then, and those who wait begin anew.
        self._turns = asyncio.Semaphore(pool.get_max_size())

    async def _fetch_once(self, query: str, arguments: tuple[Any, ...]) -> list[Any]:
        async with self._turns, self._pool.acquire() as connection:
            return await _fetch(connection, query, arguments)


class OwnReader(Reader):
    """Runs one query at a time on a connection of its own, which it opens when it is needed.

    To take a connection of the pool and to give it back takes longer than a small query does.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._settings = settings
        self._connection: Any = None

    def terminate(self) -> None:
        """Close the connection at once; the next query opens another one."""
        if self._connection is not None:
            self._connection.terminate()

    async def _fetch_once(self, query: str, arguments: tuple[Any, ...]) -> list[Any]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._settings)
        return await _fetch(self._connection, query, arguments)


async def _fetch(connection: Any, query: str, arguments: tuple[Any, ...]) -> list[Any]:
    # Given back as it is, a connection that was cut off would be waited for until the server has taken note of it.
    async with autocommit(connection):
        rows: list[Any] = await connection.fetch(query, *arguments)
    return rows

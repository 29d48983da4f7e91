"""Transactions on a connection, and the connections that reads share, with their limits in time and number."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg

from db.errors import CONNECTION_ERRORS, Fault, fault_of, translate
from db.sessions import connect as connect
from runtime.slices import DatabaseSettings
from runtime.telemetry import log
from runtime.throttle import Throttle
from wallet.errors import Unavailable

Connection = asyncpg.Connection[asyncpg.Record] if hasattr(asyncpg.Connection, "__class_getitem__") else Any

Result = TypeVar("Result")

_NOT_UNDERSTOOD = Throttle()


@asynccontextmanager
async def transaction(connection: Any) -> AsyncIterator[None]:
    """Commit what the block does, or nothing of it.

    A block that is cut off (cancelled, or its connection failed) costs the connection: to roll back would be
    to wait for a server that may not answer, beyond every deadline. The server rolls back when it sees the end.
    """
    # Plain statements: asyncpg's transaction object costs as much again as the round trips it makes.
    try:
        _require(await connection.execute("begin"), "BEGIN")  # else each statement would commit by itself
        yield
        # A transaction that had failed unseen is rolled back by `commit`, and that is no error to PostgreSQL.
        _require(await connection.execute("commit"), "COMMIT")
    except (asyncio.CancelledError, *CONNECTION_ERRORS):
        connection.terminate()
        raise
    except Exception:
        try:
            await connection.execute("rollback")
        except BaseException:
            connection.terminate()
            raise
        raise


def _require(answer: str, expected: str) -> None:
    if answer != expected:
        raise asyncpg.InternalClientError(f"the answer was {answer} instead of {expected}")


@asynccontextmanager
async def autocommit(connection: Any) -> AsyncIterator[None]:
    """Run one statement that is a transaction of its own. Cut off, it costs the connection, as in `transaction`."""
    try:
        yield
    except (asyncio.CancelledError, *CONNECTION_ERRORS):
        connection.terminate()
        raise


async def understood(
    read: Callable[..., Awaitable[Result]], reader: "Reader", *arguments: Any, **named: Any
) -> Result:
    """Return what `read` reads. Raises Unavailable also where the rows make no sense: a NULL, say, that can't be."""
    try:
        return await read(reader, *arguments, **named)
    except Exception as error:
        refusal = translate(error)
        if refusal is None or refusal is error:
            raise
        if _NOT_UNDERSTOOD.lets_through():
            log.error("rows_not_understood", exc_info=True)
        raise refusal from error


class Reader:
    """Runs queries on up to `size` connections of its own, in order of arrival, each within a bound of time.

    asyncpg's pool costs a small query more than the query does, and lets newcomers overtake who waits.
    """

    def __init__(self, database: DatabaseSettings, size: int) -> None:
        self._database = database
        self._timeout_s = database.read_timeout_ms / 1000
        self._turns = asyncio.Semaphore(size)
        self._terminated = False
        self._open: set[Any] = set()
        self._idle: list[Any] = []
        """The one used last on top: its caches are warm."""

    @property
    def connections(self) -> tuple[int, int]:
        """Connections in use, and idle."""
        return len(self._open) - len(self._idle), len(self._idle)

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """Return the rows. Raises Unavailable if the database can't give them in time, a second try included.

        Connects when it is needed, so that a database that is away stops nothing before.
        """
        try:
            async with asyncio.timeout(self._timeout_s), self._turns:
                if self._idle:
                    try:
                        return await self._fetch(self._idle.pop(), query, arguments)
                    except TimeoutError:
                        raise
                    except Exception as error:
                        # It may have died since its last use, or know the schema as it was before; a new one tells.
                        if fault_of(error) not in (Fault.CONNECTION, Fault.SERVER, Fault.CONTENTION):
                            raise
                return await self._fetch(await self._connect(), query, arguments)
        except Exception as error:
            refusal = translate(error)
            if refusal is None or refusal is error:
                raise
            raise refusal from error

    async def fetchrow(self, query: str, *arguments: Any) -> Any | None:
        """Return the first row, or None. Raises Unavailable."""
        rows = await self.fetch(query, *arguments)
        return rows[0] if rows else None

    def terminate(self) -> None:
        """Close the connections at once, and open no more."""
        self._terminated = True
        for connection in self._open:
            connection.terminate()

    async def _connect(self) -> Any:
        if self._terminated:
            raise Unavailable("the service is stopping", reason="stopping")
        connection = await connect(self._database)
        self._open.add(connection)
        return connection

    async def _fetch(self, connection: Any, query: str, arguments: tuple[Any, ...]) -> list[Any]:
        try:
            async with autocommit(connection):
                rows: list[Any] = await connection.fetch(query, *arguments)
            return rows
        except Exception as error:
            if fault_of(error) in (Fault.SERVER, Fault.SHORTAGE, Fault.BUG):
                connection.terminate()
            raise
        finally:
            if connection.is_closed():
                self._open.discard(connection)
            else:
                self._idle.append(connection)

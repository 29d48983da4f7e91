"""Transactions on a connection, and the connections that reads share, limited in time and number."""

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
    """Commit the block's work completely, or not at all.

    If the block is cut off (cancelled, or its connection failed), the connection is closed: a rollback would have to
    wait, beyond every deadline, for a server that may not answer. The server rolls back when the connection ends.
    """
    # Plain statements: asyncpg's transaction object costs as much as the round trips it makes.
    try:
        _require(
            await connection.execute("begin"), "BEGIN"
        )  # otherwise each statement would commit by itself
        yield
        # If the transaction had failed unnoticed, `commit` rolls it back, which PostgreSQL does not call an error.
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
    """Run one statement as a transaction of its own. If it is cut off, close the connection, as in `transaction`."""
    try:
        yield
    except (asyncio.CancelledError, *CONNECTION_ERRORS):
        connection.terminate()
        raise


async def understood(
    read: Callable[..., Awaitable[Result]], reader: "Reader", *arguments: Any, **named: Any
) -> Result:
    """Return the result of `read`. Raises Unavailable also if the rows make no sense, as with an impossible NULL."""
    try:
        return await read(reader, *arguments, **named)
    except Exception as error:
        refusal = not_understood(error)
        if refusal is error:
            raise
        raise refusal from error


def not_understood(error: Exception) -> Exception:
    """Return what callers are told of rows that make no sense, which is logged from time to time."""
    refusal = translate(error)
    if refusal is None or refusal is error:
        return error
    if _NOT_UNDERSTOOD.lets_through():
        log.error("rows_not_understood", exc_info=error)
    return refusal


class Reader:
    """Runs queries on up to `size` connections of its own, in arrival order, each within a time limit.

    asyncpg's pool would cost more than a small query itself, and lets new callers overtake waiting ones.
    """

    def __init__(self, database: DatabaseSettings, size: int) -> None:
        self._database = database
        self._timeout_s = database.read_timeout_ms / 1000
        self._turns = asyncio.Semaphore(size)
        self._terminated = False
        self._open: set[Any] = set()
        self._idle: list[Any] = []
        """The most recently used one is on top: its caches are warm."""

    @property
    def connections(self) -> tuple[int, int]:
        """Number of connections in use and number of idle ones."""
        return len(self._open) - len(self._idle), len(self._idle)

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """Return the rows. Raises Unavailable if the database can't deliver them in time, including a second try.

        Connects only when needed, so that a database that is away does not prevent the start.
        """
        try:
            async with asyncio.timeout(self._timeout_s), self._turns:
                if self._idle:
                    try:
                        return await self._fetch(self._idle.pop(), query, arguments)
                    except TimeoutError:
                        raise
                    except Exception as error:
                        # The connection may have died since its last use, or know an old schema: try a new one.
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
        """Close the connections at once, and open no new ones."""
        self._terminated = True
        for connection in self._open:
            connection.terminate()

    async def _connect(self) -> Any:
        self._require_running()
        connection = await connect(self._database)
        try:
            self._require_running()  # it may have been terminated meanwhile
        except Unavailable:
            connection.terminate()
            raise
        self._open.add(connection)
        return connection

    def _require_running(self) -> None:
        if self._terminated:
            raise Unavailable("the service is stopping", reason="stopping")

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

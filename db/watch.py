"""Sessions of commands: for long reads and migrations, without any of the settings of a session of ours.

How long a statement of theirs takes says nothing, so there is no limit on that. Instead the server is asked something
short now and then, on a connection of its own: one that answers no more must not keep a command waiting for ever.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from db.errors import DATABASE_ERRORS
from db.hosts import single_hosts
from runtime.tasks import SupervisedTasks

CONNECT_TIMEOUT_S = 10.0
"""All hosts together."""
INTERVAL_S = 3.0
SILENT_S_MAX = 10.0


@asynccontextmanager
async def watched_session(
    database_url: str, server_settings: Mapping[str, str] | None = None
) -> AsyncIterator[Any]:
    """Open a connection for the length of the block, and give it up once the server is silent.

    Raises one of `db.errors.DATABASE_ERRORS` if there is no database, TimeoutError if it is silent.
    """
    connection, dsn = await _connect(database_url, server_settings)
    silent = False

    async def watch() -> None:
        nonlocal silent
        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                async with asyncio.timeout(SILENT_S_MAX):
                    await _ask(dsn)
            except TimeoutError:
                silent = True
                connection.terminate()
                return
            except DATABASE_ERRORS:
                pass  # An answer, or one that the connection itself will get.

    task = SupervisedTasks().start("database-watch", watch, ends_when=lambda: True)
    try:
        yield connection
        await connection.close(timeout=5)
    except Exception as error:
        if silent:
            raise TimeoutError("the database stopped answering") from error
        raise
    finally:
        connection.terminate()
        await task.stop()


async def _connect(database_url: str, server_settings: Mapping[str, str] | None) -> tuple[Any, str]:
    """Return a connection to the first host that gives one, and its DSN."""
    dsns = single_hosts(database_url)
    last: Exception | None = None
    for dsn in dsns:
        try:
            timeout_s = CONNECT_TIMEOUT_S / len(dsns)
            return await asyncpg.connect(dsn, timeout=timeout_s, server_settings=server_settings), dsn
        except DATABASE_ERRORS as error:
            last = error
    assert last is not None
    if isinstance(last, TimeoutError):
        raise TimeoutError("the database did not answer in time") from last
    raise last


async def _ask(dsn: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=SILENT_S_MAX)
    try:
        await connection.execute("select 1")
    finally:
        connection.terminate()

"""Sessions for commands: for long reads and migrations, without the settings of our other sessions.

A long statement is no sign of a fault here, so statements have no time limit. Instead, a short query goes to the server
from time to time, on a connection of its own: a server that stops answering must not keep a command waiting for ever,
and neither must a commit that waits for a missing synchronous standby.
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
"""Limit for all hosts together."""
INTERVAL_S = 3.0
SILENT_S_MAX = 10.0

_SILENT = "the database stopped answering"
_NO_STANDBY = (
    "a commit waits for a synchronous standby that does not answer: start the standby, or take it out of the server's "
    "synchronous_standby_names"
)
_WAITS_FOR_STANDBY = "select wait_event = 'SyncRep' from pg_stat_activity where pid = $1"


@asynccontextmanager
async def watched_session(
    database_url: str, server_settings: Mapping[str, str] | None = None
) -> AsyncIterator[Any]:
    """Open a connection for the duration of the block, and give it up if the server is silent or can't commit.

    Raises one of `db.errors.DATABASE_ERRORS` if there is no database, or TimeoutError, with the reason, if the
    connection is given up. A commit that was waiting for a standby then may have taken place: on the primary it has.
    """
    connection, dsn = await _connect(database_url, server_settings)
    given_up: str | None = None
    ending = False
    """Whether the watch is just ending our session, which learns of that before the watch does."""

    async def watch() -> None:
        nonlocal given_up, ending
        waited_s = 0.0
        while given_up is None:
            await asyncio.sleep(INTERVAL_S)
            ending = waited_s >= SILENT_S_MAX
            try:
                async with asyncio.timeout(SILENT_S_MAX):
                    waits = await _ask(dsn, connection.get_server_pid(), end_it=ending)
            except TimeoutError:
                given_up = _SILENT
            except DATABASE_ERRORS:
                pass  # The server answered with an error, or the main connection will get the same error.
            else:
                if waits and waited_s >= SILENT_S_MAX:
                    given_up = _NO_STANDBY
                waited_s = waited_s + INTERVAL_S if waits else 0.0
        connection.terminate()

    task = SupervisedTasks().start("database-watch", watch, ends_when=lambda: True)
    try:
        yield connection
        await connection.close(timeout=5)
    except Exception as error:
        if given_up is not None or ending:
            raise TimeoutError(given_up or _NO_STANDBY) from error
        raise
    finally:
        connection.terminate()
        await task.stop()


async def _connect(database_url: str, server_settings: Mapping[str, str] | None) -> tuple[Any, str]:
    """Return a connection to the first host that accepts one, and its DSN."""
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


async def _ask(dsn: str, pid: int, *, end_it: bool) -> bool:
    """Return whether a commit of session `pid` waits for a standby; with `end_it`, end that session: it holds locks."""
    connection = await asyncpg.connect(dsn, timeout=SILENT_S_MAX)
    try:
        waits = bool(await connection.fetchval(_WAITS_FOR_STANDBY, pid))
        if waits and end_it:
            await connection.execute("select pg_terminate_backend($1)", pid)
        return waits
    finally:
        connection.terminate()

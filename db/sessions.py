"""Opening a session: the choice of the host, the session's settings, and the refusal of servers that would lose money.

A session is usable only on a primary that keeps what it commits, and that is the same server from one statement to the
next. Each new session is checked here for any other case, and the error names it.
"""

import asyncio
import socket
from collections.abc import Awaitable
from functools import cache
from typing import Any, NamedTuple
from weakref import WeakSet

import asyncpg

from db.errors import (
    ARGUMENT_ERRORS,
    NONSENSE,
    POOLER,
    STANDBY,
    UNSAFE,
    MalformedAnswer,
    UnfitServer,
)
from db.hosts import Hosts
from db.strict import one
from runtime.identity import process_name
from runtime.settings import SettingsError
from runtime.slices import DatabaseSettings
from runtime.telemetry import log

_CONNECT_TIMEOUT_S_MIN = 1.5

KEEPALIVE_IDLE_S = 10
KEEPALIVE_INTERVAL_S = 5
KEEPALIVE_COUNT = 3
"""With these values both sides notice within half a minute that the peer's host is gone."""
UNACKNOWLEDGED_MS_MAX = 15_000

_POOLER_REFUSES = "unsupported startup parameter"  # PgBouncer's words
_TRANSACTION_MODE = (
    "DATABASE_URL leads to a connection pooler in transaction or statement mode, in which a session's settings and "
    "statements get lost: connect to PostgreSQL itself, or set the pooler to session mode"
)
_LOOK = """
select
    pg_is_in_recovery() as is_standby,
    pg_backend_pid() as pid,
    current_setting('fsync') as fsync,
    current_setting('full_page_writes') as full_page_writes,
    current_setting('synchronous_commit') as synchronous_commit,
    current_setting('synchronous_standby_names') as synchronous_standby_names,
    current_setting('plan_cache_mode') as plan_cache_mode,
    current_setting('session_replication_role') as session_replication_role
"""
_SET = "select set_config(s.name, s.value, false) from unnest($1::text[], $2::text[]) as s (name, value)"

_open: WeakSet[Any] = WeakSet()
_said: set[str] = set()
_in_session_mode: set[str] = set()


class _Server(NamedTuple):
    """A new session's report on its server."""

    is_standby: bool
    pid: int
    fsync: str
    full_page_writes: str
    synchronous_commit: str
    synchronous_standby_names: str
    plan_cache_mode: str
    session_replication_role: str


class _Session(asyncpg.Connection):  # type: ignore[misc]
    """A connection that reports an answer which it can't decode as the server's fault, not as a bug of ours."""

    async def _execute(self, *arguments: Any, **options: Any) -> Any:
        return await _decoded(super()._execute(*arguments, **options))

    async def execute(self, *arguments: Any, **options: Any) -> Any:
        """Do the same as asyncpg's method. Raises MalformedAnswer also if the command tag is missing."""
        return await _decoded(super().execute(*arguments, **options))


async def _decoded(answer: Awaitable[Any]) -> Any:
    """Return the answer. Raises MalformedAnswer if asyncpg can't decode it."""
    try:
        return await answer
    except ARGUMENT_ERRORS:
        raise
    except NONSENSE as error:
        raise MalformedAnswer(f"{type(error).__name__}: {error}") from error


@cache
def _hosts(dsn: str) -> Hosts:
    return Hosts(dsn)


def session_settings(database: DatabaseSettings) -> dict[str, str]:
    """Return the settings of each of our sessions."""
    return {
        "application_name": process_name()[:63],
        "lock_timeout": str(database.lock_timeout_ms),
        # A frozen process must not hold its locks for longer than others are willing to wait.
        "idle_in_transaction_session_timeout": str(2 * database.write_timeout_ms),
        "statement_timeout": str(20 * database.write_timeout_ms),
        # A client whose host is gone must not keep its session, and the session's locks, for hours.
        "tcp_keepalives_idle": str(KEEPALIVE_IDLE_S),
        "tcp_keepalives_interval": str(KEEPALIVE_INTERVAL_S),
        "tcp_keepalives_count": str(KEEPALIVE_COUNT),
        "tcp_user_timeout": str(UNACKNOWLEDGED_MS_MAX),
        # All statements are fixed and use the primary keys. A generic plan saves planning at each batch; without
        # sequential scans it stays good even if it was made while the tables were still empty.
        "plan_cache_mode": "force_generic_plan",
        "enable_seqscan": "off",
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
        "jit": "off",
        "timezone": "UTC",
    }


async def connect(database: DatabaseSettings, *, command_timeout_s: float | None = None) -> Any:
    """Open one session.

    Raises the last host's error, nearly always one of `db.errors.CONNECTION_ERRORS`, within the time of a write, but
    1.5 s at least; `UnfitServer` if a server answered that must not be used. `command_timeout_s` bounds each statement;
    a caller that omits it has a deadline of its own.
    """
    timeout_s = max(_CONNECT_TIMEOUT_S_MIN, database.write_timeout_ms / 1000)
    deadline = asyncio.get_running_loop().time() + timeout_s
    hosts = _hosts(database.url)
    failures: list[Exception] = []
    in_turn = hosts.in_turn()
    for number, dsn in enumerate(in_turn):
        # The next hosts get the time that a host leaves of its share.
        share_s = (deadline - asyncio.get_running_loop().time()) / (len(in_turn) - number)
        try:
            async with asyncio.timeout(share_s):
                connection = await _open_on(dsn, database, share_s, command_timeout_s)
        except Exception as error:  # noqa: BLE001  # whatever it is, the next host may be better
            failures.append(error)
        else:
            hosts.remember(dsn)
            return connection
    raise next((error for error in failures if isinstance(error, UnfitServer)), failures[-1])


async def _open_on(
    dsn: str, database: DatabaseSettings, timeout_s: float, command_timeout_s: float | None
) -> Any:
    connection = await _open_plain(dsn, database, timeout_s, command_timeout_s)
    try:
        _keep_alive(connection)
        server = _Server(*one(await connection.fetch(_LOOK)))
        _require_fit(server)
        if server.pid != connection.get_server_pid():
            await _require_session_mode(dsn, database, timeout_s, connection)
        if server.plan_cache_mode != session_settings(database)["plan_cache_mode"]:
            # A pooler has swallowed the settings that we sent at the start.
            await connection.execute(_SET, *_columns(session_settings(database)))
    except (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError) as error:
        connection.terminate()
        raise UnfitServer(POOLER, _TRANSACTION_MODE) from error
    except BaseException:
        connection.terminate()
        raise
    _open.add(connection)
    return connection


async def _open_plain(
    dsn: str, database: DatabaseSettings, timeout_s: float, command_timeout_s: float | None
) -> Any:
    try:
        return await asyncpg.connect(
            dsn,
            timeout=timeout_s,
            command_timeout=command_timeout_s,
            server_settings=session_settings(database),
            connection_class=_Session,
        )
    except asyncpg.TargetServerAttributeNotMatched as error:
        raise UnfitServer(
            STANDBY, "DATABASE_URL leads to a standby: name the primary, or all hosts"
        ) from error
    except asyncpg.ProtocolViolationError as error:
        if _POOLER_REFUSES not in str(error):
            raise
        raise UnfitServer(
            POOLER,
            "DATABASE_URL leads to a connection pooler that refuses session settings "
            f"({error}): connect to PostgreSQL itself",
        ) from error


def _columns(values: dict[str, str]) -> tuple[list[str], list[str]]:
    return list(values), list(values.values())


def _require_fit(server: _Server) -> None:
    off = [
        name for name in ("fsync", "full_page_writes", "synchronous_commit") if getattr(server, name) == "off"
    ]
    if off:
        forget_sessions()  # the open sessions were opened when these settings were still on
        raise UnfitServer(
            UNSAFE,
            f"{' and '.join(off)} {'is' if len(off) == 1 else 'are'} off at DATABASE_URL (for the server, "
            "the database or the role): it would forget money that was acknowledged; switch it on",
        )
    if server.session_replication_role == "replica":
        raise UnfitServer(
            UNSAFE,
            "session_replication_role is replica at DATABASE_URL (for the server, the database or the role): the "
            "triggers that guard the books would not run; reset it",
        )
    if server.is_standby:
        raise UnfitServer(STANDBY, "DATABASE_URL leads to a standby: name the primary, or all hosts")
    if server.synchronous_standby_names and server.synchronous_commit in ("local", "remote_write"):
        _say_once(
            "commits_do_not_wait_for_the_standby",
            f"synchronous_commit is {server.synchronous_commit} although synchronous_standby_names is set: "
            "a failover may lose what was acknowledged",
        )


async def _require_session_mode(dsn: str, database: DatabaseSettings, timeout_s: float, one: Any) -> None:
    """Refuse the pooler between us and the server if it gives one server session to two of our sessions."""
    if dsn in _in_session_mode:
        return
    before = await one.fetchval("select pg_backend_pid()")
    other = await _open_plain(dsn, database, timeout_s, None)
    try:
        try:
            await other.execute("begin")
        except asyncpg.ConnectionDoesNotExistError as error:  # statement mode does not even allow `begin`
            raise UnfitServer(POOLER, _TRANSACTION_MODE) from error
        others = await other.fetchval("select pg_backend_pid()")
        after = await one.fetchval("select pg_backend_pid()")
    finally:
        other.terminate()
    if others == before or after != before:
        raise UnfitServer(POOLER, _TRANSACTION_MODE)
    _in_session_mode.add(dsn)


def _keep_alive(connection: Any) -> None:
    """Set keepalives on our side too, to notice that the server's host is gone."""
    sock = connection._transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    options = {
        "TCP_KEEPIDLE": KEEPALIVE_IDLE_S,
        "TCP_KEEPINTVL": KEEPALIVE_INTERVAL_S,
        "TCP_KEEPCNT": KEEPALIVE_COUNT,
        "TCP_USER_TIMEOUT": UNACKNOWLEDGED_MS_MAX,
    }
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in options.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def require_fit_server(database: DatabaseSettings) -> None:
    """Check the database before anything starts. If it is away, go on: the users of the database wait for it.

    Raises SettingsError, with a message, if DATABASE_URL leads to a server that must not be used.
    """
    try:
        connection = await connect(database)
    except UnfitServer as error:
        if error.reason == STANDBY and len(_hosts(database.url)) > 1:
            log.warning("waiting_for_a_primary")  # one of the hosts will be promoted
            return
        raise SettingsError(str(error)) from error
    except Exception as error:  # noqa: BLE001  # the fault may be over when the database is needed
        log.warning("database_away_at_the_start", error=f"{type(error).__name__}: {error}")
    else:
        connection.terminate()


def forget_sessions() -> None:
    """End all sessions of this process: each is reopened, and its server checked, when it is next needed."""
    for connection in list(_open):
        connection.terminate()


def _say_once(event: str, sentence: str) -> None:
    if event not in _said:
        _said.add(event)
        log.warning(event, detail=sentence)

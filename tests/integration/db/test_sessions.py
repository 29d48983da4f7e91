"""How a session is opened: several hosts, one that swallows packets, servers that must not be used, names."""

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from db import sessions
from db.errors import POOLER, STANDBY, UNSAFE, UnfitServer
from db.sessions import connect, require_fit_server
from ops.local.provision import private_servers
from ops.state import StateDir
from runtime.identity import name_process
from runtime.settings import Settings, SettingsError
from tests.conftest import execute
from tests.polling import keeps, poll_until
from tests.ports import free_port
from tests.tcp import serving


def with_hosts(dsn: str, *hosts: str) -> str:
    """The DSN with these hosts instead of its own."""
    parts = urlsplit(dsn)
    userinfo, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=userinfo + at + ",".join(hosts)).geturl()


def host_of(dsn: str) -> str:
    return urlsplit(dsn).netloc.rpartition("@")[2]


@pytest_asyncio.fixture
async def silent_host() -> AsyncIterator[str]:
    """A host that takes packets and never answers."""

    async def hold(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with serving(hold, port=free_port()) as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture
def make(database_url: str) -> Callable[..., Settings]:
    """`make("host:port", …)`: settings with these hosts, and the limits of production."""

    def settings(*hosts: str) -> Settings:
        return Settings.from_env({"DATABASE_URL": with_hosts(database_url, *hosts)})

    return settings


async def test_a_first_host_that_swallows_packets(
    make: Callable[..., Settings], silent_host: str, database_url: str
) -> None:
    """Goal: it costs its share of the time, not the connection; from then on the good one is asked first."""
    settings = make(silent_host, host_of(database_url))
    connection = await connect(settings.database)
    assert await connection.fetchval("select 1") == 1
    connection.terminate()

    async def at_once() -> float:
        started = time.monotonic()
        (await connect(settings.database)).terminate()
        return time.monotonic() - started

    await keeps(0.5, at_once)


async def test_a_host_that_refuses_leaves_its_time_to_the_next(
    make: Callable[..., Settings], silent_host: str, database_url: str
) -> None:
    """Goal: three hosts, one dead, one silent: found within the time of one connection."""
    connection = await connect(make(f"127.0.0.1:{free_port()}", silent_host, host_of(database_url)).database)
    connection.terminate()


async def test_no_host_answers(make: Callable[..., Settings], silent_host: str) -> None:
    """Goal: with all hosts silent the time of one connection is kept all the same."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(20):
            await connect(make(silent_host, silent_host, silent_host).database)


async def test_sessions_and_their_names(settings: Settings, connection: asyncpg.Connection) -> None:
    """Goal: an operator sees whose session it is; a peer whose host is gone is noticed, on both sides."""
    name_process("test")
    try:
        session = await connect(settings.database)
    finally:
        name_process("command")
    pid = session.get_server_pid()
    name = await connection.fetchval("select application_name from pg_stat_activity where pid = $1", pid)
    assert name == f"wbs test {socket.gethostname()}:{os.getpid()}"[:63]
    for setting in ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_user_timeout"):
        assert await session.fetchval("select current_setting($1)", setting) != "0"
    sock = session._transport.get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    session.terminate()


@pytest.mark.parametrize("of", ["database", "role"])
async def test_commits_that_would_be_forgotten(settings: Settings, database_url: str, of: str) -> None:
    """Goal: durability switched off, for the database or the role in it, is refused by name; on again, it is used."""
    database = urlsplit(database_url).path[1:]
    role = "session_user" if of == "role" else "all"
    alter = f"alter role {role} in database {database}" if of == "role" else f"alter database {database}"
    open_before = await connect(settings.database)
    await execute(database_url, f"{alter} set synchronous_commit = off")
    with pytest.raises(UnfitServer, match="synchronous_commit is off") as refused:
        await connect(settings.database)
    assert refused.value.reason == UNSAFE
    assert open_before.is_closed(), "what was opened before is not looked at again otherwise"
    await execute(database_url, f"{alter} reset synchronous_commit")
    (await connect(settings.database)).terminate()


async def test_triggers_that_would_not_run(settings: Settings, database_url: str) -> None:
    """Goal: a session in which the triggers that guard the books don't run is refused by name."""
    database = urlsplit(database_url).path[1:]
    await execute(database_url, f"alter database {database} set session_replication_role = replica")
    with pytest.raises(UnfitServer, match="session_replication_role is replica") as refused:
        await connect(settings.database)
    assert refused.value.reason == UNSAFE
    await execute(database_url, f"alter database {database} set session_replication_role = local")
    (await connect(settings.database)).terminate()


async def test_commits_that_do_not_wait_for_the_standby(
    settings: Settings, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Goal: with no standby demanded, synchronous_commit = local is as good as on."""
    database = urlsplit(database_url).path[1:]
    await execute(database_url, f"alter database {database} set synchronous_commit = local")
    (await connect(settings.database)).terminate()
    assert "commits_do_not_wait_for_the_standby" not in caplog.text


@pytest.fixture(scope="module")
def standby_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server in recovery, as a standby is."""
    folder = tmp_path_factory.mktemp("standby")
    with private_servers(folder, rabbitmq=False, env={"DATABASE_URL": ""}):
        pass
    data = Path(StateDir(folder).recall("postgres", "data"))
    (data / "standby.signal").touch()
    shutil.chown(data / "standby.signal", data.owner(), data.group())
    with private_servers(folder, rabbitmq=False, env={"DATABASE_URL": ""}, delete=True) as servers:
        yield servers.database_url


@pytest.mark.parametrize("attributes", ["", "?target_session_attrs=primary", "?target_session_attrs=any"])
async def test_a_standby(standby_url: str, attributes: str) -> None:
    """Goal: a standby is refused by name, whatever the DSN says; beside its primary it is passed over."""
    with pytest.raises(UnfitServer, match="standby") as refused:
        await connect(Settings.from_env({"DATABASE_URL": standby_url + attributes}).database)
    assert refused.value.reason == STANDBY


async def test_a_standby_at_the_start(
    make: Callable[..., Settings], standby_url: str, silent_host: str
) -> None:
    """Goal: a standby as the only host is a setting to change; beside others, one of them will be promoted."""
    with pytest.raises(SettingsError, match="standby"):
        await require_fit_server(Settings.from_env({"DATABASE_URL": standby_url}).database)
    both = with_hosts(standby_url, silent_host, host_of(standby_url))
    await require_fit_server(Settings.from_env({"DATABASE_URL": both}).database)
    await require_fit_server(make(f"127.0.0.1:{free_port()}").database)


async def test_a_standby_beside_its_primary(
    make: Callable[..., Settings], standby_url: str, database_url: str
) -> None:
    """Goal: of several hosts the primary is found, also where the DSN does not ask for it."""
    connection = await connect(make(host_of(standby_url), host_of(database_url)).database)
    assert not await connection.fetchval("select pg_is_in_recovery()")
    connection.terminate()


# --- Poolers ---

PgBouncer = Callable[[str, str], str]


@pytest.fixture
def pgbouncer(tmp_path: Path, database_url: str) -> Iterator[PgBouncer]:
    """`pgbouncer(mode, ignored)`: a pooler before the database; returns the DSN through it."""
    binary = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if binary is None:
        pytest.skip("no pgbouncer here")
    parts = urlsplit(database_url)
    started = []

    def start(mode: str, ignored: str) -> str:
        port = free_port()
        (tmp_path / "users").write_text(f'"{parts.username}" "{parts.password or ""}"\n')
        (tmp_path / "ini").write_text(
            f"[databases]\n* = host={parts.hostname} port={parts.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port}\nauth_type = plain\nauth_file = {tmp_path}/users\npool_mode = {mode}\n"
            f"unix_socket_dir =\nignore_startup_parameters = extra_float_digits{ignored}\n"
        )
        tmp_path.chmod(0o755)
        for name in ("users", "ini"):
            (tmp_path / name).chmod(0o644)
        user = ["--user=nobody"] if os.geteuid() == 0 else []
        started.append(subprocess.Popen([binary, "-q", *user, str(tmp_path / "ini")]))
        return with_hosts(database_url, f"127.0.0.1:{port}")

    yield start
    for process in started:
        process.kill()
        process.wait()


ALL_IGNORED = ", " + ", ".join(
    name
    for name in sessions.session_settings(Settings.from_env({}).database)
    if name not in ("application_name", "timezone")
)


async def first_answer(dsn: str) -> BaseException | asyncpg.Connection:
    """What comes of connecting, once the pooler listens."""

    async def answer() -> BaseException | asyncpg.Connection | None:
        try:
            return await connect(Settings.from_env({"DATABASE_URL": dsn}).database)
        except UnfitServer as refused:
            return refused
        except ConnectionRefusedError:
            return None

    return await poll_until(answer)


@pytest.mark.parametrize(
    ("mode", "ignored"),
    [("transaction", ALL_IGNORED), ("statement", ALL_IGNORED), ("transaction", ""), ("session", "")],
)
async def test_a_pooler_that_loses_sessions(pgbouncer: PgBouncer, mode: str, ignored: str) -> None:
    """Goal: a pooler in transaction mode, or one that refuses our settings, is refused by name."""
    refused = await first_answer(pgbouncer(mode, ignored))
    assert isinstance(refused, UnfitServer)
    assert refused.reason == POOLER
    assert "pooler" in str(refused)


async def test_a_pooler_in_session_mode(pgbouncer: PgBouncer) -> None:
    """Goal: in session mode a pooler is as good as the server; what it keeps from it is set by statement."""
    connection = await first_answer(pgbouncer("session", ALL_IGNORED))
    assert isinstance(connection, asyncpg.Connection)
    assert await connection.fetchval("show lock_timeout") == "700ms"
    assert await connection.fetchval("show plan_cache_mode") == "force_generic_plan"
    connection.terminate()

"""PostgreSQL away: a clear refusal within 2 s, no hang, normal again within 5 s of its return."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import psutil
import pytest
import pytest_asyncio

from db.ledger import Ledger
from db.migrate import migrate
from db.withdrawals import Withdrawals
from ops.local.provision import PrivateServers
from runtime.settings import Settings
from tests.conftest import PATIENT, execute
from tests.integration.db.conftest import accepted, answers, charge, split, withdraw
from tests.integration.db.service import Service, insist, refused, service, works
from tests.integration.link import Link
from tests.polling import keeps, poll_until
from wallet.errors import Unavailable
from wallet.outcomes import Paid

AWAY_MAX_S = 2.0
BACK_MAX_S = 5.0
SLACK_S = 0.5  # the machine is shared


async def check_away_and_back(
    made: Service, go_away: Callable[[], Awaitable[None]], come_back: Callable[[], Awaitable[None]]
) -> None:
    """The goal of this module, for one way to be away."""

    async def away_and_back() -> float:
        await go_away()
        times: list[float] = []
        for _ in range(2):  # the first finds a broken connection, the second none
            times += await asyncio.gather(*(refused(call) for call in made.calls for _ in range(8)))
        await come_back()
        back_s = await all_work(made)
        return max(max(times) / (AWAY_MAX_S + SLACK_S), back_s / BACK_MAX_S)

    await keeps(1.0, away_and_back, what="the share of what is allowed")


async def all_work(made: Service) -> float:
    """Wait until each call goes through; return how long that took, in seconds."""
    started = time.monotonic()
    for call in made.calls:
        await poll_until(lambda call=call: works(call), what=call.__name__)  # type: ignore[misc]
    return time.monotonic() - started


@pytest.fixture
def make_settings(database_url: str) -> Callable[..., Settings]:
    """The limits of a service in use, which these tests check."""

    def make(**environment: str) -> Settings:
        return Settings.from_env({"DATABASE_URL": database_url, **environment})

    return make


@pytest.fixture
def linked_settings(link: Link) -> Callable[..., Settings]:
    """The same, for a database that is reached through the link."""

    def make(**environment: str) -> Settings:
        return Settings.from_env({"DATABASE_URL": link.url, **environment})

    return make


# --- A real server, stopped and frozen ---


@pytest_asyncio.fixture
async def own_settings(own_server: PrivateServers) -> Settings:
    """Settings for the server that may be stopped."""
    await migrate(own_server.database_url)
    return Settings.from_env({"DATABASE_URL": own_server.database_url})


def _processes(server: PrivateServers) -> list[psutil.Process]:
    [pid] = server.stack.pids("postgres")
    return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]


async def test_a_server_that_is_stopped(own_server: PrivateServers, own_settings: Settings) -> None:
    """Goal: with PostgreSQL stopped every call is refused in time, and works again once it is started."""
    async with service(own_settings) as made:

        async def stop() -> None:
            await asyncio.to_thread(own_server.stack.stop_kind, "postgres")

        async def start() -> None:
            await asyncio.to_thread(own_server.stack.start_kind, "postgres")
            await asyncio.to_thread(own_server.stack.wait_healthy)

        await check_away_and_back(made, stop, start)


async def test_a_server_that_is_frozen(own_server: PrivateServers, own_settings: Settings) -> None:
    """Goal: with all of PostgreSQL frozen (SIGSTOP) no call hangs, and all is well after SIGCONT."""
    async with service(own_settings) as made:

        async def freeze() -> None:
            for process in _processes(own_server):
                os.kill(process.pid, signal.SIGSTOP)

        async def thaw() -> None:
            for process in _processes(own_server):
                os.kill(process.pid, signal.SIGCONT)

        try:
            await check_away_and_back(made, freeze, thaw)
        finally:
            await thaw()


async def test_a_server_that_is_killed(own_server: PrivateServers, own_settings: Settings) -> None:
    """Goal: after kill -9 of PostgreSQL in the middle of writes, what was acknowledged is there."""
    async with service(own_settings) as made:
        charges = [charge(1, user="killed", key=f"killed-{number}") for number in range(300)]
        tasks = [made.ledger.submit(one) for one in charges[:200]]
        await poll_until(lambda: any(task.done() for task in tasks))
        [pid] = own_server.stack.pids("postgres")
        os.kill(pid, signal.SIGKILL)
        tasks += [made.ledger.submit(one) for one in charges[200:]]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert answers(results).keys() <= {"new", "replayed", "Unavailable"}
        await asyncio.to_thread(own_server.stack.wait_healthy)
        await all_work(made)
        there, _, _ = await insist(lambda: split(made.reader, "killed"))
        acknowledged = [result for result in results if not isinstance(result, BaseException)]
        assert 0 < len(acknowledged) <= there
        again = await asyncio.gather(*(insist(partial(made.ledger.submit, one)) for one in charges))
        for before, after in zip(results, again, strict=True):
            assert isinstance(before, BaseException) or before.receipt == after.receipt
        assert len({result.receipt.id for result in again}) == len(charges)
        assert await insist(lambda: split(made.reader, "killed")) == (len(charges), 0, 0)


@pytest.mark.parametrize(
    ("shut", "open_"),
    [
        ("connection limit 0", "connection limit 5"),
        ("password 'changed'", "password 'secret'"),
        ("nologin", "login"),
    ],
)
async def test_a_server_that_does_not_let_us_in(
    own_server: PrivateServers, own_settings: Settings, shut: str, open_: str
) -> None:
    """Goal: while our role can't connect, all its connections in use, say, we refuse in time; then we go on."""
    url = urlsplit(own_server.database_url)
    role = f"limited_{uuid4().hex}"  # one that failed leaves its own behind, in nobody's way
    ours = url._replace(netloc=f"{role}:secret@127.0.0.1:{url.port}")
    await execute(
        own_settings.database_url,  # migrated, so its tables are there
        f"create role {role} login password 'secret'",
        f"grant connect on database {url.path[1:]} to {role}",
        f"grant usage on schema public to {role}",
        f"grant execute on all functions in schema public to {role}",
        f"grant select, insert, update, delete on all tables in schema public to {role}",
        f"alter role {role} {shut}",
    )
    settings = Settings.from_env({"DATABASE_URL": urlunsplit(ours)})
    ledger = Ledger(settings)
    ledger.start()
    made = Service(ledger, Withdrawals(settings), settings)
    made.grouped.start()
    for call in (made.write, made.read, made.read_grouped):
        await keeps(AWAY_MAX_S, lambda call=call: refused(call))  # type: ignore[misc]
    await execute(own_server.database_url, f"alter role {role} {open_}")
    for call in (made.write, made.read, made.read_grouped):
        await poll_until(lambda call=call: works(call), what=call.__name__)  # type: ignore[misc]
    await ledger.stop()
    await made.grouped.stop()
    made.reader.terminate()
    made.grouped_reader.terminate()
    await execute(own_server.database_url, f"drop owned by {role}", f"drop role {role}")


@pytest.mark.parametrize("condition", ["disk_full", "out_of_memory", "io_error"])
async def test_a_server_that_is_short_of_something(
    settings: Settings, connection: asyncpg.Connection, condition: str
) -> None:
    """Goal: a full disk is our trouble, not the request's: refused as unavailable, nothing moved, mended later."""
    async with service(settings) as made:
        await connection.execute(
            "create function fail() returns trigger language plpgsql as"
            f" $$ begin raise exception 'short' using errcode = '{condition}'; end $$;"
            " create trigger fail before insert on transfers execute function fail()"
        )
        before = await split(made.reader)
        await keeps(AWAY_MAX_S, lambda: refused(made.write))
        assert await split(made.reader) == before
        await connection.execute("drop function fail cascade")
        await made.write()


async def test_a_server_that_became_a_standby(
    database_url: str, link: Link, linked_settings: Callable[..., Settings], connection: asyncpg.Connection
) -> None:
    """Goal: while the server takes no writes they are refused as unavailable and reads go on; then all is well."""
    name = urlsplit(database_url).path.strip("/")
    async with service(linked_settings()) as made:
        await connection.execute(f"alter database {name} set default_transaction_read_only = on")
        link.cut()
        await keeps(AWAY_MAX_S, lambda: refused(made.write))
        await insist(made.read)
        await connection.execute(f"alter database {name} reset default_transaction_read_only")
        await poll_until(lambda: works(made.write))


# --- The network ---


async def test_a_network_that_swallows_everything(
    link: Link, linked_settings: Callable[..., Settings]
) -> None:
    """Goal: packets that vanish without a reset are noticed by our own deadlines."""
    async with service(linked_settings()) as made:

        async def freeze() -> None:
            link.freeze()

        async def thaw() -> None:
            link.thaw()

        await check_away_and_back(made, freeze, thaw)


@pytest.mark.parametrize("statement", [b"begin", b"commit"])
async def test_a_network_that_fails_within_a_transaction(
    link: Link, linked_settings: Callable[..., Settings], statement: bytes
) -> None:
    """Goal: a transaction whose statement or commit is never answered ends in time as well."""
    async with service(linked_settings()) as made:

        async def away_and_back() -> float:
            link.freezes_after = statement
            times = await asyncio.gather(*(refused(made.cancel) for _ in range(16)))
            link.thaw()
            await all_work(made)
            return max(times)

        await keeps(AWAY_MAX_S + SLACK_S, away_and_back)


async def test_a_network_that_refuses(link: Link, linked_settings: Callable[..., Settings]) -> None:
    """Goal: cut and refused connections are reported as unavailable, and reopened once the network works."""
    async with service(linked_settings()) as made:

        async def cut() -> None:
            link.refuses = True
            link.cut()

        async def mend() -> None:
            link.refuses = False

        await check_away_and_back(made, cut, mend)


async def test_connections_cut_while_idle_are_not_noticed(
    link: Link, linked_settings: Callable[..., Settings]
) -> None:
    """Goal: a connection that died while nobody used it costs no request its answer."""
    async with service(linked_settings(**PATIENT)) as made:
        for _ in range(3):
            link.cut()
            for call in made.calls:
                await call()
        await asyncio.gather(*(made.read() for _ in range(8)))
        assert made.reader.connections == (0, 4)
        link.cut()
        await made.read()  # not on another one that is dead as well
        await asyncio.gather(*(made.read() for _ in range(8)))


async def test_stop_is_bounded_while_the_server_is_away(
    link: Link, linked_settings: Callable[..., Settings]
) -> None:
    """Goal: a process that is told to end does so although the database hangs, and no caller is left waiting."""

    async def stop() -> float:
        link.thaw()
        async with service(linked_settings()) as made:
            link.freeze()
            tasks = [made.ledger.submit(charge(1)) for _ in range(2000)]
            await asyncio.sleep(0)
            started = time.monotonic()
            await made.ledger.stop()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert answers(results) == {"Unavailable": 2000}
            return time.monotonic() - started

    await keeps(4.0, stop)


async def test_late_outcomes_are_written_after_an_outage(
    link: Link, linked_settings: Callable[..., Settings]
) -> None:
    """Goal: an outcome that could not be written is written by the same call made again later."""
    async with service(linked_settings()) as made:
        withdrawal_id = await accepted(made.ledger, withdraw(5))
        attempt = await made.withdrawals.begin_attempt(withdrawal_id, "ann")
        assert attempt is not None
        link.refuses = True
        link.cut()
        with pytest.raises(Unavailable):
            await made.withdrawals.settle(attempt, Paid("p1"))
        link.refuses = False
        for _ in range(2):
            assert await insist(lambda: made.withdrawals.settle(attempt, Paid("p1"))) == "completed"

"""Health that is true: with each fault of the database the writes fail, and health says so and why; after it, green.

By real faults, on a server of this module's own.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from db.migrate import migrate
from ops.local.provision import private_servers
from tests.conftest import execute, with_database
from tests.integration.gateway.conftest import Api, Gateway, Reply
from tests.polling import keeps, poll_until

RED_MAX_S = 5.0
GREEN_MAX_S = 10.0
WRITABLE = {"default_transaction_read_only": "off", "synchronous_commit": "local"}
"""For sessions that set and undo faults."""

BROKEN_FUNCTION = """
create or replace function check_withdrawal_move() returns trigger language plpgsql as $$
begin raise exception 'could not load library: undefined symbol' using errcode = '58P01'; end $$
"""
RAISES = """
create or replace function raises() returns trigger language plpgsql as $$ begin raise exception 'odd'; end $$
"""


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that others do not use."""
    folder = tmp_path_factory.mktemp("health")
    with private_servers(folder, rabbitmq=False, env={"DATABASE_URL": ""}, delete=True) as servers:
        asyncio.run(execute(servers.database_url, "create database health"))
        url = with_database(servers.database_url, "health")
        asyncio.run(migrate(url))
        yield url


@pytest_asyncio.fixture
async def operator(server_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A session that can always undo what it did."""
    connection = await asyncpg.connect(server_url, timeout=10, server_settings=WRITABLE)
    yield connection
    await connection.close(timeout=10)


@pytest.fixture(scope="module")
def one_gateway(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One gateway for all faults: none of them may need a restart."""
    gateway = Gateway(tmp_path_factory.mktemp("gateway"), {"DATABASE_URL": server_url})
    gateway.start()
    yield gateway
    gateway.ensure_gone()


@pytest_asyncio.fixture
async def api(one_gateway: Gateway, session: aiohttp.ClientSession) -> Api:
    await one_gateway.ready(session)
    api = Api(one_gateway.url, session)
    await poll_until(lambda: is_green(api))
    return api


Fault = Callable[[asyncpg.Connection], Any]


async def is_green(api: Api) -> bool:
    replies = [await api.get(path) for path in ("/health/ready", "/health")]
    return all(
        reply.status == 200 and reply.json["dependencies"]["postgres"]["status"] == "ok" for reply in replies
    )


async def set_server(operator: asyncpg.Connection, setting: str, value: str | None) -> None:
    await operator.execute(
        f"alter system set {setting} = '{value}'" if value else f"alter system reset {setting}"
    )
    await operator.execute("select pg_reload_conf()")


@asynccontextmanager
async def server_setting(operator: asyncpg.Connection, setting: str, value: str) -> AsyncIterator[None]:
    await set_server(operator, setting, value)
    try:
        yield
    finally:
        await set_server(operator, setting, None)


@asynccontextmanager
async def read_only(operator: asyncpg.Connection) -> AsyncIterator[None]:
    async with server_setting(operator, "default_transaction_read_only", "on"):
        yield


@asynccontextmanager
async def no_standby(operator: asyncpg.Connection) -> AsyncIterator[None]:
    """What a frozen synchronous standby is to the primary: one that never answers."""
    async with server_setting(operator, "synchronous_standby_names", "nobody"):
        yield


@asynccontextmanager
async def forgetful(operator: asyncpg.Connection) -> AsyncIterator[None]:
    async with server_setting(operator, "synchronous_commit", "off"):
        yield


def locked(table: str) -> Fault:
    @asynccontextmanager
    async def locked_table(operator: asyncpg.Connection) -> AsyncIterator[None]:
        async with operator.transaction():
            await operator.execute(f"lock table {table} in access exclusive mode")
            yield

    return locked_table


@asynccontextmanager
async def broken(operator: asyncpg.Connection) -> AsyncIterator[None]:
    whole = await operator.fetchval("select pg_get_functiondef('check_withdrawal_move'::regproc)")
    await operator.execute(BROKEN_FUNCTION)
    try:
        yield
    finally:
        await operator.execute(whole)


@asynccontextmanager
async def used_up(operator: asyncpg.Connection) -> AsyncIterator[None]:
    """Somebody else has all connections, the gateway's own too."""
    held: list[asyncpg.Connection] = []
    url = await operator.fetchval("select current_setting('port')")
    try:
        for _ in range(500):
            try:
                held.append(
                    await asyncpg.connect(host="127.0.0.1", port=int(url), timeout=10, **_login(operator))
                )
            except asyncpg.TooManyConnectionsError:
                ended = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name ~ '^wbs '"
                if not await operator.fetchval(ended):
                    break
        yield
    finally:
        for connection in held:
            connection.terminate()


def _login(connection: asyncpg.Connection) -> dict[str, Any]:
    parameters = connection._params
    return {"user": parameters.user, "password": parameters.password, "database": parameters.database}


FAULTS: list[tuple[Fault, str, bool]] = [
    (read_only, "database_read_only", True),
    (no_standby, "database_commits_hang", True),
    (forgetful, "database_unsafe", True),
    (locked("wallets"), "database_locked", True),
    (locked("event_batches"), "database_locked", True),
    (broken, "database_broken", False),  # charges still go through, cancels and payouts don't
    (used_up, "database_connections_used_up", True),
]


@pytest.mark.parametrize(("fault", "reason", "charges_fail"), FAULTS, ids=[reason for _, reason, _ in FAULTS])
async def test_a_fault_of_the_database(
    api: Api, operator: asyncpg.Connection, fault: Fault, reason: str, charges_fail: bool
) -> None:
    """Goal: with the fault not ready, within seconds, and named; alive; after it ready again, without any traffic."""

    async def said(path: str) -> bool:
        reply = await api.get(path)
        return reply.status == 503 and reply.json["reasons"][0]["code"] == reason

    async def once() -> float:
        async with fault(operator):
            await poll_until(lambda: said("/health/ready"), RED_MAX_S * 4, interval_s=0.1)
            if charges_fail:
                assert (await api.charge(42, 1)).status == 503
                # What the writers saw may have another name, but is no better.
                assert (await api.get("/health/ready")).status == 503
            assert (await api.get("/health")).status == 503
            assert (await api.get("/health/live")).status == 200
        over_at = time.monotonic()
        await poll_until(lambda: is_green(api), GREEN_MAX_S * 4, interval_s=0.1)
        return time.monotonic() - over_at

    await keeps(GREEN_MAX_S, once, what="green again")
    assert (await api.charge(42, 1)).status == 200


@pytest.mark.parametrize(
    ("table", "call", "condition", "turns_red"),
    [
        ("transfers", Api.charge, "true", True),
        ("transfers", Api.charge, "new.user_id = '44'", False),
        ("outbox", Api.withdraw, "true", True),
    ],
    ids=["all charges", "one wallet", "all withdrawals"],
)
async def test_what_only_the_writers_meet(
    api: Api,
    operator: asyncpg.Connection,
    table: str,
    call: Callable[..., Awaitable[Reply]],
    condition: str,
    turns_red: bool,
) -> None:
    """Goal: what fails all requests of a kind and spares the trial is told by the writers, while anybody asks, whatever
    else goes through; then green again. One wallet that is at fault by itself says nothing of the server."""

    async def red() -> bool:
        if table == "outbox":
            assert (await api.charge(46, 1)).status == 200
        assert {(await call(api, user, 1)).status for user in (44, 45)} == {503}
        reply = await api.get("/health/ready")
        return reply.status == 503 and reply.json["reasons"][0]["code"] == "database_misconfigured"

    for user in (44, 45):
        await api.charge(user, 100)
    await operator.execute(RAISES)
    await operator.execute(
        f"create trigger raises before insert on {table} for each row "
        f"when ({condition}) execute function raises()"
    )
    try:
        if turns_red:
            await poll_until(red, RED_MAX_S * 4, interval_s=0.1)
            assert (await api.get("/health")).status == 503
        else:
            for _ in range(5):
                assert (await call(api, 44, 1)).status == 503
                assert (await api.get("/health/ready")).status == 200
    finally:
        await operator.execute(f"drop trigger raises on {table}")
    await poll_until(lambda: is_green(api), GREEN_MAX_S * 4, interval_s=0.1)
    assert (await call(api, 44, 1)).status in (200, 202)


async def test_all_whom_anybody_asks_about_are_held(api: Api, operator: asyncpg.Connection) -> None:
    """Goal: while another session holds all charged wallets, but no table, health reports it; then green again."""
    users = range(100, 106)
    for user in users:
        await api.charge(user, 1)

    async def red() -> bool:
        replies = await asyncio.gather(*(api.charge(user, 1) for user in users))
        assert {reply.status for reply in replies} == {503}
        reply = await api.get("/health/ready")
        return reply.status == 503 and reply.json["reasons"][0]["code"] == "database_locked"

    async with operator.transaction():
        await operator.execute("select 1 from wallets for update")
        await poll_until(red, RED_MAX_S * 4, interval_s=0.1)
    await poll_until(lambda: is_green(api), GREEN_MAX_S * 4, interval_s=0.1)
    assert (await api.charge(100, 1)).status == 200


async def reasons(api: Api) -> dict[str, str | None]:
    reply = await api.get("/health")
    assert reply.status == 200, reply
    return {reason["code"]: reason.get("detail") for reason in reply.json["reasons"]}


async def test_what_is_only_degraded(api: Api, operator: asyncpg.Connection) -> None:
    """Goal: processes that are missing, payouts paused, a withdrawal that waits: named in /health, never in ready."""
    assert {"relay_down", "actors_down", "reconciler_down"} <= set(await reasons(api))
    await api.charge(43, 10)
    id_ = (await api.withdraw(43, 10)).json["withdrawal_id"]
    assert "withdrawals_late" not in await reasons(api)
    await operator.execute(
        "update withdrawals set created_at = created_at - interval '61 s' where id = $1", id_
    )

    async def late() -> bool:
        return "withdrawals_late" in await reasons(api)

    await poll_until(late)
    assert (await api.get("/health/ready")).status == 200
    await operator.execute(
        "update stack set paused_at = now(), paused_by = 'operator', paused_reason = 'books disagree'"
    )

    async def paused() -> bool:
        return (await reasons(api)).get("payouts_paused") == "books disagree"

    await poll_until(paused)
    assert not await late(), "nothing waits for us in a pause"
    assert (await api.get("/health/ready")).status == 200
    assert (await api.charge(42, 1)).status == 200
    await operator.execute("update stack set paused_at = null, paused_by = null, paused_reason = null")
    await poll_until(late)
    await operator.execute("update withdrawals set accepted_at = now() where id = $1", id_)

    async def with_the_bank() -> bool:
        return not await late()

    await poll_until(with_the_bank)


@pytest.mark.parametrize("table", ["withdrawal_history", "write_trials"])
async def test_a_table_that_no_request_needs(api: Api, operator: asyncpg.Connection, table: str) -> None:
    """Goal: while only payouts, or only the trial, miss a table, health is degraded and says why; ready stays green."""

    async def named() -> bool:
        return "database_locked" in await reasons(api)

    async with operator.transaction():
        await operator.execute(f"lock table {table} in access exclusive mode")
        await poll_until(named)
        assert (await api.get("/health/ready")).status == 200
        assert (await api.charge(42, 2)).status == 200
        assert (await api.withdraw(42, 1)).status == 202
    await poll_until(lambda: is_green(api))

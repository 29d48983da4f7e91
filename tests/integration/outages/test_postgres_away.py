"""PostgreSQL away, under the whole service: 503 with Retry-After within 2 s, no hang, normal again within 5 s."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import asyncpg
import psutil
import pytest

from tests.integration.outages.endpoints import REFUSED_MAX_S, SLACK_S, all_refuse, all_work, every_call
from tests.polling import poll_until
from tests.service import Service

Away = Callable[[Service], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def stopped(service: Service) -> AsyncIterator[None]:
    """PostgreSQL stopped, as for an upgrade."""
    await service.stop("postgres")
    yield
    await asyncio.to_thread(service.stack.start_kind, "postgres")
    assert service.stack.servers is not None
    assert service.stack.servers.postgres is not None
    await poll_until(service.stack.servers.postgres.ready, 60)


@asynccontextmanager
async def frozen(service: Service) -> AsyncIterator[None]:
    """Every process of PostgreSQL frozen: it takes connections, and answers nothing."""
    [pid] = service.stack.pids("postgres")
    pids = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    try:
        for one in pids:
            os.kill(one, signal.SIGSTOP)
        yield
    finally:
        for one in pids:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGCONT)


@asynccontextmanager
async def full(service: Service) -> AsyncIterator[None]:
    """All of PostgreSQL's connections taken by others, ours ended."""
    taken = await take_connections(service)
    try:
        while await end_ours(taken[0]):
            taken += await take_connections(service)
        yield
    finally:
        await asyncio.gather(*(connection.close(timeout=10) for connection in taken))


async def take_connections(service: Service) -> list[asyncpg.Connection]:
    """Connect until PostgreSQL takes no more."""
    assert service.stack.servers is not None
    url = service.stack.servers.database_url
    taken: list[asyncpg.Connection] = []
    with suppress(asyncpg.TooManyConnectionsError):
        while True:
            taken.append(await asyncpg.connect(url, timeout=30))
    return taken


async def end_ours(connection: asyncpg.Connection) -> int:
    """End the service's connections; return how many there were."""
    ended = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'wbs'"
    return int(await connection.fetchval(ended))


@pytest.mark.parametrize("away", [stopped, frozen, full], ids=lambda away: away.__name__)
async def test_away_and_back(service: Service, away: Away) -> None:
    """Goal: every endpoint refuses in time while PostgreSQL is away, and works soon after it is back."""
    calls = await every_call(service)
    async with away(service):
        for _ in range(2):  # the first finds broken connections, the second none
            await all_refuse(service, calls)
    await all_work(service, calls)
    assert await service.ends(await service.withdraw(10)) == "completed", (
        "the background processes are back too"
    )
    await service.audit()


async def test_killed(service: Service) -> None:
    """Goal: kill -9 of PostgreSQL: whatever is sent meanwhile is answered in time, and it works again soon."""
    calls = await every_call(service)
    [pid] = service.stack.pids("postgres")
    os.kill(pid, signal.SIGKILL)
    made = calls * 4
    answers = await asyncio.gather(*(call.on(service) for call in made))
    for call, answer in zip(made, answers, strict=True):
        assert answer.status < 500 or answer.status == 503, (call, answer)
        assert answer.seconds < REFUSED_MAX_S + SLACK_S, call
    assert service.stack.servers is not None
    assert service.stack.servers.postgres is not None
    await poll_until(service.stack.servers.postgres.ready, 60)
    await all_work(service, calls)
    assert await service.ends(await service.withdraw(10)) == "completed"
    await service.audit()


async def test_no_connections_left_for_others(service: Service) -> None:
    """Goal: others take all connections, ours stay: those go on working, and what finds none says so in time."""
    calls = await every_call(service)
    taken = await take_connections(service)
    try:
        made = [call for call in calls for _ in range(20)]
        answers = await asyncio.gather(*(call.on(service) for call in made))
        for call, answer in zip(made, answers, strict=True):
            assert answer.status < 500 or answer.status == 503, (call, answer)
            assert answer.seconds < REFUSED_MAX_S + SLACK_S, call
        id_ = await service.withdraw(10)
    finally:
        await asyncio.gather(*(connection.close(timeout=10) for connection in taken))
    await all_work(service, calls)
    assert await service.ends(id_) == "completed"


async def test_whoever_waits_is_answered(service: Service) -> None:
    """Goal: requests that wait for a withdrawal's end are answered when their time is up, the database away or not."""
    await service.charge(100)
    await service.faults(outage=True)
    id_ = await service.withdraw(10)
    waiting = [asyncio.ensure_future(service.call("GET", f"/withdrawals/{id_}?wait=2")) for _ in range(8)]
    async with frozen(service):
        for answer in await asyncio.gather(*waiting):
            assert answer.status in (200, 503)
            assert answer.seconds < 2 + REFUSED_MAX_S + SLACK_S
    await service.faults()
    assert await service.ends(id_) == "completed"

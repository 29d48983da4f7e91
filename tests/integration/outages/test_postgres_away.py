"""PostgreSQL away, under the whole service: 503 with Retry-After within 2 s, no hang, normal again within 5 s."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import asyncpg
import psutil
import pytest

from tests.integration.outages.endpoints import (
    BACK_MAX_S,
    REFUSED_MAX_S,
    SLACK_S,
    Call,
    all_refuse,
    all_work,
    every_call,
)
from tests.polling import keeps, poll_until
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
    await poll_until(service.stack.servers.postgres.ready)


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
    ended = (
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name like 'wbs %'"
    )
    return int(await connection.fetchval(ended))


async def slowest(service: Service, calls: Sequence[Call]) -> float:
    """Make calls at once; each is answered, or refused as it should be. Returns the longest time, in seconds."""
    answers = await asyncio.gather(*(call.on(service) for call in calls))
    for call, answer in zip(calls, answers, strict=True):
        assert answer.status < 500 or answer.status == 503, (call, answer)
    return max(answer.seconds for answer in answers)


@pytest.mark.parametrize("away", [stopped, frozen, full], ids=lambda away: away.__name__)
async def test_away_and_back(service: Service, away: Away) -> None:
    """Goal: every endpoint refuses in time while PostgreSQL is away, and works soon after it is back."""
    calls = await every_call(service)

    async def away_and_back() -> float:
        async with away(service):
            # The first time finds broken connections, the second none.
            refused_s = max([await all_refuse(service, calls) for _ in range(2)])
        back_s = await all_work(service, calls)
        return max(refused_s / (REFUSED_MAX_S + SLACK_S), back_s / (BACK_MAX_S + SLACK_S))

    await keeps(1.0, away_and_back, what="the share of what is allowed")
    assert await service.ends(await service.withdraw(10)) == "completed", (
        "the background processes are back too"
    )
    await service.audit()


async def test_killed(service: Service) -> None:
    """Goal: kill -9 of PostgreSQL: whatever is sent meanwhile is answered in time, and it works again soon."""
    calls = await every_call(service)

    async def killed() -> float:
        [pid] = service.stack.pids("postgres")
        os.kill(pid, signal.SIGKILL)
        answered_s = await slowest(service, calls * 4)
        assert service.stack.servers is not None
        assert service.stack.servers.postgres is not None
        await poll_until(service.stack.servers.postgres.ready)
        back_s = await all_work(service, calls)
        return max(answered_s / (REFUSED_MAX_S + SLACK_S), back_s / (BACK_MAX_S + SLACK_S))

    await keeps(1.0, killed, what="the share of what is allowed")
    assert await service.ends(await service.withdraw(10)) == "completed"
    await service.audit()


async def test_no_connections_left_for_others(service: Service) -> None:
    """Goal: others take all connections, ours stay: those go on working, and what finds none says so in time."""
    calls = await every_call(service)
    taken = await take_connections(service)
    try:
        await keeps(REFUSED_MAX_S + SLACK_S, lambda: slowest(service, calls * 20))
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

    async def waited() -> float:
        waiting = [asyncio.ensure_future(service.call("GET", f"/withdrawals/{id_}?wait=2")) for _ in range(8)]
        async with frozen(service):
            answers = await asyncio.gather(*waiting)
        assert {answer.status for answer in answers} <= {200, 503}
        return max(answer.seconds for answer in answers)

    await keeps(2 + REFUSED_MAX_S + SLACK_S, waited)
    await service.faults()
    assert await service.ends(id_) == "completed"

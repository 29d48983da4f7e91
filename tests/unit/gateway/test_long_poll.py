"""Waiting for withdrawals to end."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from gateway.long_poll import LongPoll
from runtime.tasks import SupervisedTasks
from tests.polling import poll_until
from wallet.errors import Unavailable


class Database:
    """Which withdrawals have ended, and how often that was asked."""

    def __init__(self) -> None:
        self.ended: set[UUID] = set()
        self.asked: list[set[UUID]] = []
        self.away = False

    async def find_ended(self, ids: Sequence[UUID]) -> set[UUID]:
        self.asked.append(set(ids))
        if self.away:
            raise Unavailable("away")
        return self.ended & set(ids)


@pytest.fixture
def database() -> Database:
    return Database()


@pytest_asyncio.fixture
async def long_poll(database: Database) -> AsyncIterator[LongPoll]:
    long_poll = LongPoll(database.find_ended, SupervisedTasks(), interval_s=0.005, waiters_max=100)
    long_poll.start()
    yield long_poll
    await long_poll.stop()


async def start(
    long_poll: LongPoll, id: UUID, timeout_s: float = 30, client: str | None = None
) -> "asyncio.Task[None]":
    task = asyncio.create_task(long_poll.wait(id, timeout_s, client))
    await asyncio.sleep(0)
    return task


async def test_one_query_for_all(long_poll: LongPoll, database: Database) -> None:
    """Goal: all who wait are in each query, those whose withdrawal ended go on, the others keep waiting."""
    first, second = uuid4(), uuid4()
    tasks = [await start(long_poll, id) for id in (first, first, second)]
    await poll_until(lambda: database.asked and database.asked[-1] == {first, second})
    database.ended.add(first)
    await asyncio.wait_for(asyncio.gather(*tasks[:2]), 25)
    assert not tasks[2].done()
    database.ended.add(second)
    await asyncio.wait_for(tasks[2], 25)


async def test_time_is_up(long_poll: LongPoll, database: Database) -> None:
    """Goal: nobody waits longer than asked for, and then is not asked for any more."""
    await asyncio.wait_for(long_poll.wait(uuid4(), 0.02), 25)
    asked = len(database.asked)
    id = uuid4()
    await asyncio.wait_for(long_poll.wait(id, 0.02), 25)
    assert all(one == {id} for one in database.asked[asked:])


async def test_nobody_waits_nothing_is_asked(long_poll: LongPoll, database: Database) -> None:
    """Goal: an idle gateway costs the database nothing."""
    await long_poll.wait(uuid4(), 0.02)
    loop = asyncio.get_running_loop()
    asked, until = len(database.asked), loop.time() + 0.1
    await poll_until(lambda: loop.time() > until)
    assert len(database.asked) <= asked + 1


async def test_database_away(long_poll: LongPoll, database: Database) -> None:
    """Goal: an outage in the middle ends no wait; when the database is back, they are woken."""
    id = uuid4()
    database.away = True
    task = await start(long_poll, id)
    await poll_until(lambda: len(database.asked) >= 2)
    assert not task.done()
    database.away, database.ended = False, {id}
    await asyncio.wait_for(task, 25)


async def test_bounded(long_poll: LongPoll) -> None:
    """Goal: only a limited number of callers wait; one that leaves makes room."""
    tasks = [await start(long_poll, uuid4(), client=f"key-{number}") for number in range(100)]
    without_place = await start(long_poll, uuid4(), client="late")
    assert without_place.done()
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    in_its_place = await start(long_poll, uuid4())
    assert not in_its_place.done()
    long_poll.release()
    await asyncio.wait_for(asyncio.gather(*tasks[1:], in_its_place), 25)


async def test_one_client_does_not_take_all_places(long_poll: LongPoll) -> None:
    """Goal: however many requests of one client wait, others find places; who finds none is answered at once."""
    waiting: dict[str, list[asyncio.Task[None]]] = {}
    for client in ("greedy", "greedy, too", "modest"):
        tasks = [await start(long_poll, uuid4(), client=client) for _ in range(200)]
        waiting[client] = [task for task in tasks if not task.done()]
    assert [len(tasks) for tasks in waiting.values()] == [50, 25, 13]
    waiting["greedy"][0].cancel()
    await asyncio.gather(waiting["greedy"][0], return_exceptions=True)
    assert (await start(long_poll, uuid4(), client="greedy")).done(), "it has more places than are left"
    assert not (await start(long_poll, uuid4(), client="new")).done()
    long_poll.release()
    await asyncio.wait_for(asyncio.gather(*waiting["modest"]), 25)


async def test_release(long_poll: LongPoll) -> None:
    """Goal: at the process's end all waiting callers are answered, and none can wait any more."""
    tasks = [await start(long_poll, uuid4()) for _ in range(3)]
    long_poll.release()
    await asyncio.wait_for(asyncio.gather(*tasks), 25)
    await asyncio.wait_for(long_poll.wait(uuid4(), 30), 25)

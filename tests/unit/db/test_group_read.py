"""Reads that share a query."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from db.group_read import KEYS_MAX, WAITING_MAX, GroupRead
from runtime.tasks import SupervisedTasks
from wallet.errors import Overloaded, Unavailable


class Source:
    """Answers queries when the test lets it."""

    def __init__(self) -> None:
        self.queries: list[list[int]] = []
        self.go_on = asyncio.Semaphore(0)
        self.error: Exception | None = None

    async def read(self, keys: Sequence[int]) -> dict[int, str]:
        self.queries.append(sorted(keys))
        await self.go_on.acquire()
        if self.error is not None:
            raise self.error
        return {key: str(key) for key in keys}


@pytest_asyncio.fixture
async def source() -> Source:
    return Source()


@pytest_asyncio.fixture
async def group(source: Source) -> AsyncIterator[GroupRead[int, str]]:
    group: GroupRead[int, str] = GroupRead("test", source.read, SupervisedTasks())
    group.start()
    yield group
    await group.stop()


async def ask(group: GroupRead[int, str], *keys: int) -> "list[asyncio.Future[str]]":
    tasks = [group.get(key) for key in keys]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_one_query_for_what_waits(group: GroupRead[int, str], source: Source) -> None:
    """Goal: those who come together share a query, those who come while it is under way share the next."""
    tasks = await ask(group, 1, 2)
    tasks += await ask(group, 3, 4, 3)
    for _ in range(2):
        source.go_on.release()
    assert await asyncio.gather(*tasks) == ["1", "2", "3", "4", "3"]
    assert source.queries == [[1, 2], [3, 4]]


async def test_an_answer_is_never_older_than_its_question(group: GroupRead[int, str], source: Source) -> None:
    """Goal: a caller during a query for the same key gets the answer of a later query."""
    tasks = await ask(group, 1)
    tasks += await ask(group, 1)
    source.go_on.release()
    assert await tasks[0] == "1"
    assert not tasks[1].done()
    source.go_on.release()
    assert await tasks[1] == "1"
    assert source.queries == [[1], [1]]


async def test_database_away(group: GroupRead[int, str], source: Source) -> None:
    """Goal: when a query fails because the database is away, the callers waiting behind it are refused at once."""
    tasks = await ask(group, 1)
    tasks += await ask(group, 2)
    source.error = Unavailable("away")
    source.go_on.release()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable, Unavailable]
    assert source.queries == [[1]]
    source.error = None
    source.go_on.release()
    assert await group.get(3) == "3"


async def test_a_bug_ends_one_query_only(group: GroupRead[int, str], source: Source) -> None:
    """Goal: an unexpected error reaches those who asked, and the reader lives on."""
    tasks = await ask(group, 1)
    source.error = ZeroDivisionError()
    source.go_on.release()
    with pytest.raises(ZeroDivisionError):
        await tasks[0]
    source.error = None
    source.go_on.release()
    assert await group.get(2) == "2"


async def test_whoever_asked_has_gone(group: GroupRead[int, str], source: Source) -> None:
    """Goal: a cancelled request takes nothing from the others of its query."""
    tasks = await ask(group, 1, 1)
    tasks[0].cancel()
    source.go_on.release()
    assert await tasks[1] == "1"


async def test_bounded(group: GroupRead[int, str], source: Source) -> None:
    """Goal: a query has a limited number of keys, and a limited number of requests wait."""
    tasks = await ask(group, 0)
    tasks += await ask(group, *range(1, WAITING_MAX + 1))
    with pytest.raises(Overloaded):
        await group.get(1)
    for _ in range(2 + WAITING_MAX // KEYS_MAX):
        source.go_on.release()
    await asyncio.gather(*tasks)
    assert max(len(query) for query in source.queries) == KEYS_MAX


async def test_stopped(group: GroupRead[int, str], source: Source) -> None:
    """Goal: at the end no caller is left waiting."""
    tasks = await ask(group, 1)
    tasks += await ask(group, 2)
    await group.stop()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable, Unavailable]
    with pytest.raises(Unavailable):
        await group.get(3)

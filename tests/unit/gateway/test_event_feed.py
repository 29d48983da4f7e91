"""The feed of events: a stream goes on for as long as its position is there, however late the feed learns of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from db.events import EventPage, Span
from gateway.event_feed import HEARTBEAT, EventFeed, EventFilter
from runtime.tasks import SupervisedTasks
from tests.polling import poll_until
from wallet.errors import Overloaded, Unavailable
from wallet.events import Event


class Reads:
    """A sequence whose end is told later than its events can be read."""

    def __init__(self) -> None:
        self.span = Span(UUID(int=1), 1, 0, 1)
        self.there = 0
        self.asked = 0

    async def event_span(self) -> Span:
        self.asked += 1
        return self.span

    async def event_page(self, after: int, limit: int, which: EventFilter) -> EventPage:
        body: Any = {}
        now = datetime.now(UTC)
        numbers = range(after + 1, self.there + 1)
        return EventPage([Event(seq, "x", (), now, body) for seq in numbers], max(after, self.there))

    async def is_asked(self, meanwhile: "asyncio.Task[Any]") -> None:
        """Wait until the end was asked for some more times, or until what happens meanwhile is over."""
        asked = self.asked
        await poll_until(lambda: self.asked >= asked + 3 or meanwhile.done(), 20)

    def tell(self, last_seq: int) -> None:
        self.span = self.span._replace(last_seq=last_seq)


@pytest.fixture
def reads() -> Reads:
    """Nothing has happened yet."""
    return Reads()


@pytest_asyncio.fixture
async def feed(reads: Reads) -> AsyncIterator[EventFeed]:
    """A feed that asks."""
    tasks = SupervisedTasks()
    feed = EventFeed(reads, tasks)
    feed.start()
    yield feed
    await feed.stop()
    await tasks.stop()


async def told(stream: AsyncIterator[bytes]) -> list[int]:
    """Return the numbers of the next piece with events."""
    async with asyncio.timeout(20):
        async for piece in stream:
            if piece.startswith(b"id: "):
                return [int(line[4:]) for line in piece.splitlines() if line.startswith(b"id: ")]
    raise AssertionError("the stream has ended")


async def test_a_page_that_is_ahead(feed: EventFeed, reads: Reads) -> None:
    """Goal: events that were read before the feed has learned of their numbers do not end the stream."""
    reads.there = 5
    reads.tell(2)
    async with aclosing(feed.stream(0, EventFilter(), None, lambda: True)) as stream:
        assert await told(stream) == [1, 2, 3, 4, 5]
        following = asyncio.create_task(told(stream))
        await reads.is_asked(following)
        assert not following.done()
        reads.there = 7
        reads.tell(6)
        assert await following == [6, 7]


async def test_waiting_beyond_what_is_told(feed: EventFeed, reads: Reads) -> None:
    """Goal: who has read ahead waits for what comes after it, and is not woken by what he has."""
    reads.tell(2)
    with feed.place(None) as has_place:
        assert has_place
        waiting = asyncio.create_task(feed.wait_beyond(5, 20))
        for last_seq in (3, 5):
            reads.tell(last_seq)
            await reads.is_asked(waiting)
            assert not waiting.done()
        reads.tell(6)
        assert await waiting


async def test_another_epoch(feed: EventFeed, reads: Reads) -> None:
    """Goal: where another epoch has begun, a stream of the last one ends."""
    reads.there = 3
    reads.tell(3)
    async with aclosing(feed.stream(0, EventFilter(), None, lambda: True)) as stream:
        assert await told(stream) == [1, 2, 3]
        reads.span = Span(uuid4(), 1_000_001, 1_000_000, 1_000_001)
        async with asyncio.timeout(20):
            assert [piece async for piece in stream if piece != HEARTBEAT] == []


async def test_places(reads: Reads) -> None:
    """Goal: a stream that nobody reads takes no place; one that is read takes it until it ends."""
    feed = EventFeed(reads, SupervisedTasks(), readers_max=1)
    for _ in range(3):  # as after HEAD, or a client that has gone before the first piece
        await feed.stream(0, EventFilter(), "shop", lambda: True).aclose()
        feed.require_place("shop")
    async with aclosing(feed.stream(0, EventFilter(), "shop", lambda: True)) as stream:
        await anext(stream)
        for client in ("shop", "other"):
            with pytest.raises(Overloaded):
                feed.require_place(client)
        assert [piece async for piece in feed.stream(0, EventFilter(), "shop", lambda: True)] == []
    feed.require_place("shop")
    feed.release()
    with pytest.raises(Unavailable):
        feed.require_place("shop")

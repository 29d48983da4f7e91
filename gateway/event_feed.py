"""Lets requests wait for events, and reads them once for all who read the same.

Clients that follow the sequence ask for what comes after the same number at nearly the same time. So pages are kept
for a while, by filter and position: a thousand clients cost the database no more than one.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from db.events import EventPage, Span, check_position
from gateway.places import Places
from runtime.tasks import SupervisedTask, SupervisedTasks
from runtime.telemetry import EVENT_STREAMS
from wallet.errors import EventsGone, Overloaded, TryLater, Unavailable

POLL_INTERVAL_S = 0.1
READERS_PER_S = 10_000
"""Number of readers that are woken per second: with many of them, the database is asked less often."""
READERS_MAX = 2_000
PAGES_MAX = 64
PAGE_EVENTS = 200
HEARTBEAT_S = 10.0
HEARTBEAT = b": beat\n\n"


class EventFilter(NamedTuple):
    """Which events are asked for."""

    types: tuple[str, ...] | None = None
    user_id: str | None = None
    user_prefix: str | None = None


class _Page(NamedTuple):
    looked_to: int
    text: bytes
    """As a part of an event stream."""


class EventReads(Protocol):
    """Reads the sequence; both raise Unavailable and Overloaded."""

    async def event_span(self) -> Span:
        """Return what can be read."""

    async def event_page(self, after: int, limit: int, which: EventFilter) -> EventPage:
        """Return events after a number."""


class EventFeed:
    """Asks the database regularly, while anybody waits, how far the events are numbered."""

    def __init__(self, reads: EventReads, tasks: SupervisedTasks, *, readers_max: int = READERS_MAX) -> None:
        self._reads = reads
        self._tasks = tasks
        self._task: SupervisedTask | None = None
        self._span: Span | None = None
        self._places = Places(readers_max)
        self._anybody = asyncio.Event()
        self._advanced: asyncio.Future[None] | None = None
        self._pages: OrderedDict[tuple[EventFilter, int], asyncio.Future[_Page | None]] = OrderedDict()
        self._stopping = False

    def start(self) -> None:
        """Begin to ask; needs a running event loop."""
        self._task = self._tasks.start("event-feed", self._run)

    async def stop(self) -> None:
        """Stop asking; end all streams."""
        self.release()
        if self._task is not None:
            await self._task.stop()

    def release(self) -> None:
        """End all streams and waits: the process is about to end."""
        self._stopping = True
        self._wake()

    def require_place(self, client: str | None) -> None:
        """Raise Overloaded if there is no place for this client now, Unavailable if the process is about to end."""
        if self._stopping:
            raise Unavailable("the service is stopping", reason="stopping")
        if not self._places.has_room(client):
            raise Overloaded("too many read events at once")

    @contextmanager
    def place(self, client: str | None) -> Iterator[bool]:
        """Take a place for the length of the block, if there is one; yield whether there was."""
        with self._places.take(client) as has_place:
            if not has_place:
                yield False
                return
            EVENT_STREAMS.inc()
            self._anybody.set()
            try:
                yield True
            finally:
                EVENT_STREAMS.dec()

    async def wait_beyond(self, seq: int, timeout_s: float) -> bool:
        """Return True once there is an event with a greater number; False after `timeout_s`, or at the end."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while not self._stopping:
            # What was read can be ahead of what was last told here. A position of another epoch lies before this one.
            if self._span is not None and not self._span.oldest_seq - 1 <= seq >= self._span.last_seq:
                return True
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return False
            if self._advanced is None:
                self._advanced = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._advanced], timeout=left)
        return False

    async def stream(
        self, after: int, which: EventFilter, client: str | None, may: Callable[[], bool]
    ) -> AsyncGenerator[bytes, None]:
        """Yield the events after a number as an event stream, until the process or the right to read them ends.

        It takes a place when it is begun, so one that nobody reads takes none; without a place it ends at once. `may`
        tells whether the client still may read.
        """
        clock = asyncio.get_running_loop().time
        with self.place(client) as has_place:
            if not has_place:
                return
            yield b"retry: 1000\n\n"
            beats_at = clock() + HEARTBEAT_S
            while not self._stopping and may():
                page = await self._page(after, which)
                if page is None:
                    return  # The next request says why: its position is not there any more, or the database is away.
                if page.text:
                    yield page.text
                    beats_at = clock() + HEARTBEAT_S
                elif page.looked_to == after:
                    await asyncio.sleep(POLL_INTERVAL_S)  # it was read before the number was told
                after = page.looked_to
                if not await self.wait_beyond(after, max(beats_at - clock(), 0.0)) and not self._stopping:
                    yield HEARTBEAT
                    beats_at = clock() + HEARTBEAT_S

    async def _page(self, after: int, which: EventFilter) -> _Page | None:
        """Return a page; None if it can't be read."""
        span = self._span
        try:
            if span is not None:
                check_position(span, min(after, span.last_seq))
            key = (which, after)
            known = self._pages.get(key)
            while known is not None:
                page = await asyncio.shield(known)
                if page is not None:
                    return page
                known = self._pages.get(key)  # whoever read it could not, or has gone
            return await self._read_for_all(key)
        except (EventsGone, TryLater):
            return None

    async def _read_for_all(self, key: tuple[EventFilter, int]) -> _Page | None:
        """Read a page, None if what is next is gone; others that want the same one wait for it."""
        self._pages[key] = reading = asyncio.get_running_loop().create_future()
        if len(self._pages) > PAGES_MAX:
            self._pages.popitem(last=False)
        page: _Page | None = None
        try:
            page = await self._read(key[1], key[0])
        finally:
            if (page is None or page.looked_to == key[1]) and self._pages.get(key) is reading:
                del self._pages[key]
            reading.set_result(page)
        return page

    async def _read(self, after: int, which: EventFilter) -> _Page | None:
        page = await self._reads.event_page(after, PAGE_EVENTS, which)
        if not page.is_next:
            return None
        text = b"".join(
            b"id: %d\nevent: %b\ndata: %b\n\n" % (event.seq, event.type.encode(), event.json())
            for event in page.events
        )
        return _Page(page.looked_to, text)

    def _wake(self) -> None:
        if self._advanced is not None:
            if not self._advanced.done():
                self._advanced.set_result(None)
            self._advanced = None

    async def _run(self) -> None:
        while True:
            if not self._places.taken:
                self._anybody.clear()
                self._span = None
                await self._anybody.wait()
            try:
                span = await self._reads.event_span()
            except TryLater:
                span = None  # Each waits until its time is over; the database may be back by then.
            if span is not None and span != self._span:
                self._span = span
                self._wake()
            await asyncio.sleep(max(POLL_INTERVAL_S, self._places.taken / READERS_PER_S))

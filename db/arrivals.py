"""What waits for the next batch, and when that batch begins: for group commits and grouped reads alike."""

import asyncio
from collections import deque
from math import ceil
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Arrivals(Generic[Item]):
    """A queue that is emptied in batches. Bounded by whoever adds to it.

    An idle service takes a single item at once. Under load, a batch waits until a share (`awaited`) of those under way
    have come, `linger_s` at most. All of them make the largest batches, but then whoever deals with a batch and
    whoever asks take turns. Half of them come while the other half are dealt with, so that both are always at work;
    and where items come at a steady pace, whatever the answers do, half of those under way are there from the start.
    This is PostgreSQL's own commit_delay with commit_siblings.
    """

    def __init__(self, *, batch_max: int, linger_s: float, awaited: float) -> None:
        self._batch_max = batch_max
        self._linger_s = linger_s
        self._awaited = awaited
        self._waiting: deque[Item] = deque()
        self._arrived = asyncio.Event()
        self._wanted = 1
        """So many have to wait before `_arrived` is set."""
        self._last_size = 0
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, item: Item) -> None:
        """Let an item wait for the next batch."""
        self._waiting.append(item)
        if len(self._waiting) >= self._wanted:
            self._arrived.set()

    def close(self) -> None:
        """Nothing more will come: wait for nothing."""
        self._closed = True
        self._arrived.set()

    def take_all(self) -> list[Item]:
        """Return everything that waits, to be dealt with otherwise."""
        items = list(self._waiting)
        self._waiting.clear()
        return items

    async def next_batch(self) -> list[Item]:
        """Return the next batch, in order of arrival; an empty one if closed and nothing waits any more."""
        under_way = self._last_size + len(self._waiting)
        """So many there were together while the last batch was dealt with."""
        loop = asyncio.get_running_loop()
        if not self._waiting and not self._closed:
            idle_since = loop.time()
            self._wanted = 1
            self._arrived.clear()
            await self._arrived.wait()
            # Let the requests that arrived in the same round of the event loop join this batch.
            await asyncio.sleep(0)
            if loop.time() - idle_since > self._linger_s:
                under_way = 0  # the others are not coming
        self._wanted = min(ceil(under_way * self._awaited), self._batch_max)
        if len(self._waiting) < self._wanted and self._linger_s and not self._closed:
            self._arrived.clear()
            linger = loop.call_later(self._linger_s, self._arrived.set)
            await self._arrived.wait()
            linger.cancel()
        self._last_size = min(len(self._waiting), self._batch_max)
        return [self._waiting.popleft() for _ in range(self._last_size)]

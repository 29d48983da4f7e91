"""What waits for the next batch, and when that batch begins: for group commits and grouped reads alike."""

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from math import ceil
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

_RUN_MAX = 4
"""Batches that are put in order together."""


class BatchQueue(Generic[Item]):
    """A queue that is emptied in batches. Bounded by whoever adds to it.

    An idle service takes a single item at once. Under load, a batch waits until a share (`awaited`) of those under way
    have come, `linger_s` at most. All of them make the largest batches, but then whoever deals with a batch and
    whoever asks take turns. Half of them come while the other half are dealt with, so that both are always at work;
    and where items come at a steady pace, whatever the answers do, half of those under way are there from the start.
    This is PostgreSQL's own commit_delay with commit_siblings.

    More than one batch can take make a *run* of several, which share them out by `order` (a sort key; of equal ones the
    first come first). Items that need the same lock are in the same batch then, so of batches that two processes write
    at a time each is about another part of what there is, and seldom has to wait for the other.
    """

    def __init__(
        self, *, batch_max: int, linger_s: float, awaited: float, order: Callable[[Item], Any] | None = None
    ) -> None:
        self._batch_max = batch_max
        self._linger_s = linger_s
        self._awaited = awaited
        self._order = order
        self._waiting: deque[Item] = deque()
        self._sizes: deque[int] = deque()
        """Of the batches that the present run still has; they are the first that wait."""
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
        self._sizes.clear()
        return items

    async def next_batch(self) -> list[Item]:
        """Return the next batch, by `order` or arrival; an empty one if closed and nothing waits any more."""
        if not self._sizes:
            await self._wait()
            self._begin_run()
        self._last_size = self._sizes.popleft()
        return [self._waiting.popleft() for _ in range(self._last_size)]

    async def _wait(self) -> None:
        """Return when the next batch should begin."""
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

    def _begin_run(self) -> None:
        """Make batches of what waits: one, or several of the same length if it has to be put in order."""
        batches_max = _RUN_MAX if self._order else 1
        size = min(len(self._waiting), batches_max * self._batch_max)
        batches = max(ceil(size / self._batch_max), 1)
        if self._order and batches > 1:
            run = sorted((self._waiting.popleft() for _ in range(size)), key=self._order)
            self._waiting.extendleft(reversed(run))
        cuts = [size * number // batches for number in range(batches + 1)]
        self._sizes.extend(end - first for first, end in pairwise(cuts))

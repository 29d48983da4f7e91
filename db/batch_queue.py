"""The queue for the next batch, and the timing of batches, for group commits and grouped reads alike."""

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from math import ceil
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

_RUN_MAX = 4
"""Maximum number of batches that are sorted together."""
WEIGHT_FACTOR = 4
"""The weight of a batch, in items: for those that stand for many rows."""


class BatchQueue(Generic[Item]):
    """A queue that is emptied in batches. The callers that add items bound its length.

    An idle service takes a single item at once. Under load, a batch waits until a share (`awaited`) of the items under
    way has arrived, but at most for `linger_s`. A share of 1 makes the largest batches, but then the writer of a batch
    and the callers take turns. With a share of 0.5, one half of the items arrives while the other half is processed, so
    that both sides are always busy; and if items arrive at a steady pace, independently of the answers, half of those
    under way are there from the start. This is like PostgreSQL's own commit_delay with commit_siblings.

    If more items wait than fit into one batch, they make a *run* of several batches, sorted by `order` (a sort key;
    equal items stay in arrival order). Items that need the same lock are then in the same batch. So if two processes
    write at the same time, their batches concern different parts of the data, and one seldom waits for the other.

    `weight` tells how many rows an item stands for (default: 1). A batch has `batch_max` items at most, and
    WEIGHT_FACTOR times as many rows, unless a single item has more.
    """

    def __init__(
        self,
        *,
        batch_max: int,
        linger_s: float,
        awaited: float,
        order: Callable[[Item], Any] | None = None,
        weight: Callable[[Item], int] | None = None,
    ) -> None:
        self._batch_max = batch_max
        self._weight = weight
        self._linger_s = linger_s
        self._awaited = awaited
        self._order = order
        self._waiting: deque[Item] = deque()
        self._sizes: deque[int] = deque()
        """Sizes of the remaining batches of the present run, whose items are at the front of the queue."""
        self._arrived = asyncio.Event()
        self._wanted = 1
        """Number of waiting items at which `_arrived` is set."""
        self._last_size = 0
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, item: Item) -> None:
        """Add an item for the next batch."""
        self._waiting.append(item)
        if len(self._waiting) >= self._wanted:
            self._arrived.set()

    def close(self) -> None:
        """Stop waiting, because no more items will come."""
        self._closed = True
        self._arrived.set()

    def take_all(self) -> list[Item]:
        """Remove and return all waiting items, for another treatment."""
        items = list(self._waiting)
        self._waiting.clear()
        self._sizes.clear()
        return items

    async def next_batch(self) -> list[Item]:
        """Return the next batch, by `order` or arrival; an empty one if the queue is closed and empty."""
        if not self._sizes:
            await self._wait()
            self._begin_run()
        self._last_size = self._sizes.popleft()
        batch = [self._waiting.popleft() for _ in range(self._last_size)]
        if self._weight is not None:
            self._cut(batch, self._weight)
        return batch

    def _cut(self, batch: list[Item], weight: Callable[[Item], int]) -> None:
        """Put the items back that make the batch too heavy; they are the next batch of this run."""
        sum = 0
        for number, item in enumerate(batch):
            sum += weight(item)
            if sum > WEIGHT_FACTOR * self._batch_max and number:
                rest = batch[number:]
                del batch[number:]
                self._waiting.extendleft(reversed(rest))
                self._sizes.appendleft(len(rest))
                self._last_size = number
                return

    async def _wait(self) -> None:
        """Wait until the next batch should begin."""
        under_way = self._last_size + len(self._waiting)
        """Number of items in the last batch and in the queue together, after that batch was processed."""
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
        """Divide the waiting items into batches: one, or several of equal size if they must be sorted."""
        batches_max = _RUN_MAX if self._order else 1
        size = min(len(self._waiting), batches_max * self._batch_max)
        batches = max(ceil(size / self._batch_max), 1)
        if self._order and batches > 1:
            run = sorted((self._waiting.popleft() for _ in range(size)), key=self._order)
            self._waiting.extendleft(reversed(run))
        cuts = [size * number // batches for number in range(batches + 1)]
        self._sizes.extend(end - first for first, end in pairwise(cuts))

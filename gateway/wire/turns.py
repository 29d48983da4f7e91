"""Long work in slices: whoever waits in the event loop gets a turn between two of them."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar
from weakref import WeakValueDictionary

SLICE_ITEMS = 25
"""Items of a bulk that are read at a stretch, in some 1 ms."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Turns:
    """Does long work of each client one after the other, so that many such requests delay others no more than one."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str | None, asyncio.Lock] = WeakValueDictionary()

    async def map(
        self, client: str | None, work: Callable[[Item], Result], items: Sequence[Item]
    ) -> list[Result]:
        """Return the result of each item. Raises what `work` raises."""
        if len(items) <= SLICE_ITEMS:
            return [work(item) for item in items]
        lock = self._locks.setdefault(client, asyncio.Lock())
        results: list[Result] = []
        async with lock:
            for start in range(0, len(items), SLICE_ITEMS):
                results += [work(item) for item in items[start : start + SLICE_ITEMS]]
                await asyncio.sleep(0)
        return results

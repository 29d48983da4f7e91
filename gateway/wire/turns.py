"""Long work in slices: whoever waits in the event loop gets a turn between two of them."""

import asyncio
from collections.abc import Callable, Sequence
from time import thread_time
from typing import TypeVar
from weakref import WeakValueDictionary

AT_ONCE = 25
"""So few items are no long work."""
SLICE_S = 0.002
"""How long items are read at a stretch."""
REST = 3.0
"""After a slice others have so many times as long: nobody's long work takes more than a quarter of a process."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Turns:
    """Does long work of each client one after the other, so that many such requests delay others no more than one."""

    def __init__(self, clock: Callable[[], float] = thread_time) -> None:
        self._clock = clock
        self._locks: WeakValueDictionary[str | None, asyncio.Lock] = WeakValueDictionary()

    async def map(
        self, client: str | None, work: Callable[[Item], Result], items: Sequence[Item]
    ) -> list[Result]:
        """Return the result of each item. Raises what `work` raises."""
        if len(items) <= AT_ONCE:
            return [work(item) for item in items]
        lock = self._locks.setdefault(client, asyncio.Lock())
        results: list[Result] = []
        async with lock:
            started = self._clock()
            for item in items:
                results.append(work(item))
                worked_s = self._clock() - started
                if worked_s >= SLICE_S:
                    await asyncio.sleep(REST * worked_s)
                    started = self._clock()
        return results

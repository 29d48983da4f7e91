"""The load: a number of operations per second, by a number of concurrent clients, until the time is over."""

import asyncio
import time

from lab.chaos.operations import Operations

CLIENTS = 64
BEHIND_S_MAX = 10.0
"""The load catches up with operations delayed by an outage, but with no more than this much of it."""


class Load:
    """Runs the operations at a steady pace, whatever state the stack is in."""

    def __init__(self, operations: Operations, rate_per_s: float) -> None:
        self._operations = operations
        self._interval_s = 1 / rate_per_s
        self._next_at = 0.0
        self._number = 0

    async def run(self, seconds: float) -> None:
        """Run until the time is over and every call has its answer or has timed out."""
        self._next_at = time.monotonic()
        until = self._next_at + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._client(until))

    async def _client(self, until: float) -> None:
        while True:
            now = time.monotonic()
            at = self._next_at = max(self._next_at + self._interval_s, now - BEHIND_S_MAX)
            if max(at, now) >= until:
                return
            self._number += 1
            number = self._number
            if at > now:
                await asyncio.sleep(at - now)
            await self._operations.do(number)

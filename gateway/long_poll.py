"""Waits for withdrawals to end, for `GET /withdrawals/{id}?wait=`.

One query serves all clients that wait: a thousand of them cost the database no more than one. The query runs only while
a client waits.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from uuid import UUID

from gateway.places import Places
from runtime.tasks import SupervisedTask, SupervisedTasks
from runtime.telemetry import LONG_POLLS_REFUSED
from wallet.errors import TryLater

POLL_INTERVAL_S = 0.1
WAITERS_MAX = 2_000

FindEnded = Callable[[Sequence[UUID]], Awaitable[Collection[UUID]]]
"""Returns the given withdrawals that have ended. May raise Unavailable."""


class LongPoll:
    """Asks the database regularly which of the awaited withdrawals have ended, and wakes the requests."""

    def __init__(
        self,
        find_ended: FindEnded,
        tasks: SupervisedTasks,
        *,
        interval_s: float = POLL_INTERVAL_S,
        waiters_max: int = WAITERS_MAX,
    ) -> None:
        self._find_ended = find_ended
        self._interval_s = interval_s
        self._waiters: dict[UUID, list[asyncio.Future[None]]] = {}
        self._places = Places(waiters_max)
        self._anybody = asyncio.Event()
        self._tasks = tasks
        self._task: SupervisedTask | None = None
        self._stopping = False

    def start(self) -> None:
        """Begin to ask; needs a running event loop."""
        self._task = self._tasks.start("long-poll", self._run)

    async def stop(self) -> None:
        """Stop asking; requests that wait go on at once."""
        self.release()
        if self._task is not None:
            await self._task.stop()

    def release(self) -> None:
        """Let all requests that wait go on at once, and no other wait: the process is about to end."""
        self._stopping = True
        for id in list(self._waiters):
            self._wake(id)

    async def wait(self, id: UUID, timeout_s: float, client: str | None = None) -> None:
        """Return when the withdrawal has ended, after `timeout_s` at the latest.

        Return at once if there is no place for the client: it is told the state as it is.
        """
        if self._stopping:
            return
        with self._places.take(client) as has_place:
            if not has_place:
                LONG_POLLS_REFUSED.inc()
                return
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.setdefault(id, []).append(future)
            self._anybody.set()
            try:
                async with asyncio.timeout(timeout_s):
                    await future
            except TimeoutError:
                pass
            finally:
                self._forget(id, future)

    def _forget(self, id: UUID, future: asyncio.Future[None]) -> None:
        waiting = self._waiters.get(id)
        if waiting is not None and future in waiting:
            waiting.remove(future)
            if not waiting:
                del self._waiters[id]

    def _wake(self, id: UUID) -> None:
        for future in self._waiters.pop(id, ()):
            if not future.done():
                future.set_result(None)

    async def _run(self) -> None:
        while True:
            if not self._waiters:
                self._anybody.clear()
                await self._anybody.wait()
            try:
                ended = await self._find_ended(list(self._waiters))
            except TryLater:
                ended = ()  # Each request goes on when its time is over; the database may be back by then.
            for id in ended:
                self._wake(id)
            await asyncio.sleep(self._interval_s)

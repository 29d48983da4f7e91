"""Grouped reads: what arrives while an earlier query is in flight is asked for with one query.

A query a request costs the gateway more than all the rest of a read: taking a connection, its time limits,
the round trip. An idle service asks for a single key at once. What is read is as fresh as by a query of one's
own, because a request only ever joins a query that has not been sent yet.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from db.arrivals import Arrivals
from wallet.errors import Overloaded, TryLater, Unavailable
from wallet.telemetry import BATCH_SIZE

Key = TypeVar("Key")
Value = TypeVar("Value")

KEYS_MAX = 256
"""Keys in one query."""
WAITING_MAX = 4096
"""Requests that wait for a query."""


class GroupRead(Generic[Key, Value]):
    """Collects keys and reads them in batches, one query at a time.

    `read` returns a value for each of the keys it is given; it is to be bounded in time.
    """

    def __init__(
        self,
        kind: str,
        read: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Value]]],
        *,
        linger_us: int = 0,
    ) -> None:
        self._kind = kind
        self._read = read
        # All are awaited: a query takes so little time that nobody is kept idle by it.
        self._arrivals: Arrivals[tuple[Key, asyncio.Future[Value]]] = Arrivals(
            batch_max=KEYS_MAX, linger_s=linger_us / 1e6, awaited=1.0
        )
        self._task: asyncio.Task[None] | None = None
        self._size_metric = BATCH_SIZE.labels(kind)

    def start(self) -> None:
        """Begin to read; needs a running event loop, no server yet."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"group-read-{self._kind}")

    async def stop(self) -> None:
        """Stop reading; who still waits is told so."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._fail(self._arrivals.take_all(), Unavailable("the service is stopping"))

    def get(self, key: Key) -> "asyncio.Future[Value]":
        """Return what will have the value of `key`, or what `read` raises. Raises Overloaded if too many wait."""
        if self._task is None:
            raise Unavailable("the service is starting or stopping")
        if len(self._arrivals) >= WAITING_MAX:
            raise Overloaded("too many reads are waiting")
        future: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        self._arrivals.add((key, future))
        return future

    async def _run(self) -> None:
        while batch := await self._arrivals.next_batch():
            self._size_metric.observe(len(batch))
            try:
                values = await self._read(list({key for key, _ in batch}))
            except asyncio.CancelledError:
                self._fail(batch, Unavailable("the service is stopping"))
                raise
            except TryLater as error:
                # The database is away: who waits behind this query is told as soon; nobody waits twice.
                self._fail(batch + self._arrivals.take_all(), error)
            except Exception as error:  # noqa: BLE001 - handed to those who asked; the reader lives on
                self._fail(batch, error)
            else:
                for key, future in batch:
                    if not future.done():  # else whoever asked has gone away
                        future.set_result(values[key])

    def _fail(self, batch: Sequence[tuple[Key, "asyncio.Future[Value]"]], error: Exception) -> None:
        for _, future in batch:
            if not future.done():
                future.set_exception(error)

"""Grouped reads: one query serves all the requests that arrive while an earlier query is in flight.

One query per request would cost the gateway more than all the rest of a read: taking a connection, its time limits,
the round trip. An idle service reads a single key at once. The values are as fresh as those of a separate query,
because a request only ever joins a query that has not been sent yet.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

from db.batch_queue import BatchQueue
from db.errors import Fault, fault_of, translate
from runtime.tasks import SupervisedTask, SupervisedTasks
from runtime.telemetry import BATCH_SIZE, log
from runtime.throttle import Throttle
from wallet.errors import Overloaded, TryLater, Unavailable

Key = TypeVar("Key")
Value = TypeVar("Value")

KEYS_MAX = 256
"""Number of keys per query, unless another is given."""
WAITING_MAX = 4096
"""Number of requests that may wait for a query."""
_FUTILE_MAX = 16
"""Number of failed parts of a batch, before any part is read, after which the server is taken to be at fault."""

_Waiting = list[tuple[Key, "asyncio.Future[Value]"]]


class GroupRead(Generic[Key, Value]):
    """Collects keys and reads them in batches, one query at a time.

    `read` returns a value for each of its keys; it must be bounded in time. `awaited` is that of the `BatchQueue`.
    """

    def __init__(
        self,
        kind: str,
        read: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Value]]],
        tasks: SupervisedTasks,
        *,
        linger_us: int = 0,
        keys_max: int = KEYS_MAX,
        awaited: float = 1.0,
    ) -> None:
        self._kind = kind
        self._read = read
        # Wait for all of them by default: a short query takes so little time that nobody is idle for long.
        self._queue: BatchQueue[tuple[Key, asyncio.Future[Value]]] = BatchQueue(
            batch_max=keys_max, linger_s=linger_us / 1e6, awaited=awaited
        )
        self._tasks = tasks
        self._task: SupervisedTask | None = None
        self._throttle = Throttle()
        self._size_metric = BATCH_SIZE.labels(kind)

    def start(self) -> None:
        """Begin to read. Needs a running event loop, but no server yet."""
        self._task = self._tasks.start(f"group-read-{self._kind}", self._run)

    async def stop(self) -> None:
        """Stop reading; refuse the requests that still wait."""
        if self._task is not None:
            await self._task.stop()
            self._task = None
        _fail(self._queue.take_all(), Unavailable("the service is stopping", reason="stopping"))

    def get(self, key: Key) -> "asyncio.Future[Value]":
        """Return the future of the value of `key`, or of the error that `read` raises.

        Raises Overloaded if too many requests wait, Unavailable if the service is starting or stopping.
        """
        if self._task is None:
            raise Unavailable("the service is starting or stopping", reason="stopping")
        if len(self._queue) >= WAITING_MAX:
            raise Overloaded("too many reads are waiting")
        future: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        self._queue.add((key, future))
        return future

    async def _run(self) -> None:
        while batch := await self._queue.next_batch():
            self._size_metric.observe(len(batch))
            try:
                await self._answer(batch)
            except BaseException:
                _fail(batch, Unavailable("the read was interrupted", reason="interrupted"))
                raise

    async def _answer(self, batch: "_Waiting[Key, Value]") -> None:
        """Answer the whole batch. If a broken row prevents the read, only the requests for that row fail."""
        parts = deque([batch])
        futile = 0
        one_was_read = False
        while parts:
            part = parts.popleft()
            try:
                values = await self._read(list({key for key, _ in part}))
                for key, future in part:
                    if not future.done():  # otherwise the caller has gone away
                        future.set_result(values[key])
                one_was_read = True
            except TryLater as error:
                if self._may_be_of_one(error) and len(part) > 1 and (one_was_read or futile < _FUTILE_MAX):
                    futile += 1
                    parts += [part[: len(part) // 2], part[len(part) // 2 :]]
                elif self._may_be_of_one(error) and one_was_read:
                    _fail(part, error)
                else:
                    # The database is away: refuse the requests behind this query at once, so that nobody waits twice.
                    rest = [one for others in parts for one in others]
                    parts.clear()
                    _fail(part + rest + self._queue.take_all(), error)
            except Exception as error:  # noqa: BLE001  # passed to the callers; the reader lives on
                if self._throttle.lets_through():
                    log.error("read_failed", exc_info=True, kind=self._kind)
                _fail(part, translate(error) or error)

    @staticmethod
    def _may_be_of_one(error: TryLater) -> bool:
        """Return whether the fault may be limited to the rows of one request."""
        return error.__cause__ is not None and fault_of(error.__cause__) in (Fault.SERVER, Fault.REQUEST)


def _fail(batch: "_Waiting[Key, Value]", error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)

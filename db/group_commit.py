"""Group commit: what arrives while earlier commits are in flight is written as one transaction.

One commit a request wastes the disk and the database. An idle service commits a single request at once, a busy one
commits many together. See docs/adr/0002-group-commit.md.

A batch whose connection died is sent once more: its idempotency keys, or the state of its withdrawals, tell
what had already happened. A batch that fails as a whole for another reason is split until the culprit is alone,
and one that waited too long for a lock goes on without those who need that lock.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

from db.arrivals import Arrivals
from db.errors import (
    CONNECTION_ERRORS,
    LOCK_ERRORS,
    RETRYABLE_ERRORS,
    SHORTAGE_ERRORS,
    DecideAgain,
    translate,
)
from db.pool import connect
from wallet.config import Settings
from wallet.errors import Overloaded, Unavailable, WalletError
from wallet.telemetry import BACKLOG, BATCH_SECONDS, BATCH_SIZE, log

Request = TypeVar("Request")
Answer = TypeVar("Answer")
WriteBatch = Callable[[Any, Sequence[Request]], Awaitable[Sequence[Answer | WalletError]]]
"""Writes a batch in one transaction on the connection; returns one answer a request, in order."""

HeldElsewhere = Callable[[Any, Sequence[Request]], Awaitable[Sequence[bool]]]
"""Tells of each request whether it needs a lock that a transaction elsewhere has kept for long."""

_RETRIES_MAX = 4


class GroupCommit(Generic[Request, Answer]):
    """Collects requests and commits them in batches, one at a time, on a connection of its own."""

    def __init__(
        self,
        kind: str,
        settings: Settings,
        write_batch: WriteBatch[Request, Answer],
        held_elsewhere: HeldElsewhere[Request],
        order: Callable[[Request], Any] | None = None,
    ) -> None:
        self._settings = settings
        self._kind = kind
        self._write_batch = write_batch
        self._held_elsewhere = held_elsewhere
        self._arrivals: Arrivals[tuple[Request, asyncio.Future[Answer]]] = Arrivals(
            batch_max=settings.batch_size_max,
            linger_s=settings.batch_linger_us / 1e6,
            awaited=0.5,
            order=(lambda waiting: order(waiting[0])) if order else None,
        )
        self._stopping = False
        self._connection: Any = None
        self._task: asyncio.Task[None] | None = None
        self._size_metric = BATCH_SIZE.labels(kind)
        self._seconds_metric = BATCH_SECONDS.labels(kind)
        self._backlog_metric = BACKLOG.labels(kind)

    def start(self) -> None:
        """Begin to write. Connects with the first batch, so a database that is away stops nothing here."""
        assert self._task is None
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"group-commit-{self._kind}")

    async def stop(self) -> None:
        """Write what is waiting, then end. Bounded: a database that is away fails what is left."""
        self._stopping = True
        self._arrivals.close()
        if self._task is not None:
            await self._task
        await self._disconnect()

    def submit(self, request: Request) -> "asyncio.Future[Answer]":
        """Take the request, return what will be its answer once it is committed: many at once need no task each.

        It may raise a WalletError: a refusal of this request only, or Unavailable if the database is away (the request
        may or may not have taken effect then; sending it again under its key is safe). Raises Overloaded or
        Unavailable at once if too many wait, or the service is stopping: it was not taken.
        """
        if len(self._arrivals) >= self._settings.backlog_max:
            raise Overloaded("too many requests are waiting")
        if self._stopping:
            raise Unavailable("the service is stopping")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._arrivals.add((request, future))
        return future

    async def _run(self) -> None:
        while batch := await self._arrivals.next_batch():
            self._backlog_metric.set(len(self._arrivals))
            self._size_metric.observe(len(batch))
            started = time.perf_counter()
            deadline = asyncio.get_running_loop().time() + self._settings.write_timeout_ms / 1000
            await self._commit(batch, deadline)
            self._seconds_metric.observe(time.perf_counter() - started)

    async def _commit(self, batch: list[tuple[Request, "asyncio.Future[Answer]"]], deadline: float) -> None:
        """Answer every request of the batch by the deadline (of the event loop's clock), whatever happens."""
        try:
            async with asyncio.timeout_at(deadline):
                answers = await self._write_with_retries([request for request, _ in batch])
        except (*CONNECTION_ERRORS, *SHORTAGE_ERRORS) as error:
            await self._disconnect()
            self._fail_all(batch, error)
        except Exception as error:  # noqa: BLE001  # whatever it is, each request gets its own answer
            await self._split(batch, deadline, error)
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                _resolve(future, answer)

    async def _write_with_retries(self, requests: Sequence[Request]) -> Sequence[Answer | WalletError]:
        reconnected = False
        for attempt in range(1, _RETRIES_MAX + 1):
            try:
                return await self._write(requests)
            except CONNECTION_ERRORS:
                await self._disconnect()
                if reconnected:
                    raise
                reconnected = True
            except RETRYABLE_ERRORS:
                if attempt == _RETRIES_MAX:
                    raise
            except DecideAgain as again:
                if attempt == _RETRIES_MAX:
                    raise
                if again.remedy is not None:
                    await again.remedy(self._connection)
        raise AssertionError("unreachable")

    async def _write(self, requests: Sequence[Request]) -> Sequence[Answer | WalletError]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._settings)
        return await self._write_batch(self._connection, requests)

    async def _split(
        self, batch: list[tuple[Request, "asyncio.Future[Answer]"]], deadline: float, error: Exception
    ) -> None:
        if len(batch) == 1:
            refusal = translate(error)
            if refusal is None:
                log.error("batch_failed", exc_info=True, kind=self._kind)
            _resolve(batch[0][1], refusal or error)
            return
        log.warning("batch_split", kind=self._kind, size=len(batch), error=type(error).__name__)
        middle = len(batch) // 2
        parts = [batch[:middle], batch[middle:]]
        if isinstance(error, LOCK_ERRORS):
            # To find out by halves would be to wait for the lock again and again.
            held = await self._find_held(batch, deadline)
            if any(held):
                for (_, future), is_held in zip(batch, held, strict=True):
                    if is_held:
                        _resolve(future, translate(error))
                parts = [[one for one, is_held in zip(batch, held, strict=True) if not is_held]]
        for part in parts:
            if part:
                await self._commit(part, deadline)

    async def _find_held(
        self, batch: list[tuple[Request, "asyncio.Future[Answer]"]], deadline: float
    ) -> Sequence[bool]:
        try:
            async with asyncio.timeout_at(deadline):
                return await self._held_elsewhere(self._connection, [request for request, _ in batch])
        except CONNECTION_ERRORS:
            await self._disconnect()
            return [False] * len(batch)

    def _fail_all(self, batch: list[tuple[Request, "asyncio.Future[Answer]"]], error: BaseException) -> None:
        """The database is away: answer at once, those who wait behind this batch too, so that none hangs."""
        log.warning("database_away", kind=self._kind, error=f"{type(error).__name__}: {error}")
        for _, future in batch + self._arrivals.take_all():
            _resolve(future, Unavailable("the database can't be reached; send the same request again"))

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*CONNECTION_ERRORS):
                connection.terminate()


def _resolve(future: "asyncio.Future[Any]", answer: Any) -> None:
    """Hand over the answer, unless whoever asked has gone away."""
    if future.done():
        return
    if isinstance(answer, BaseException):
        future.set_exception(answer)
    else:
        future.set_result(answer)

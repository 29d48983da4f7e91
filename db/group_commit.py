"""Group commit: requests that arrive while earlier commits are in flight are written as one transaction.

One commit per request wastes the disk and the database. An idle service commits a single request at once, a busy one
commits many together. See docs/adr/0002-group-commit.md.

A batch whose connection dies is sent once more: keys, or the state of withdrawals, show what had already happened. One
that fails as a whole for another reason is split until the culprit is alone; one that waits too long for a lock goes on
without those who need it. If no part succeeds, the server is at fault, and all are refused. Each request is answered.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Generic, TypeVar

from asyncpg import PostgresError

from db.batch_queue import BatchQueue
from db.completions import Refusals, SetApart, kinds_written, resolve, text_of
from db.connections import connect
from db.errors import LOCKED, BatchRejected, Fault, Rejected, fault_of
from db.held import HeldElsewhere, HeldLane, NamesOf
from db.last_writes import LastWrites
from runtime.slices import BatchSettings, DatabaseSettings
from runtime.tasks import SupervisedTask, SupervisedTasks
from runtime.telemetry import BACKLOG, BATCH_SECONDS, BATCH_SIZE, log
from wallet.errors import Overloaded, Unavailable, WalletError

Request = TypeVar("Request")
Answer = TypeVar("Answer")
Answers = Sequence[Answer | WalletError | SetApart[Answer]]
WriteBatch = Callable[[Any, Sequence[Request]], Awaitable[Answers[Answer] | Rejected]]
"""Writes a batch in one transaction; returns an answer per request, in order, or why it must be written again."""

_Waiting = list[tuple[Request, "asyncio.Future[Answer]"]]
_RETRIES_MAX = 4
_FUTILE_MAX = 32
"""Number of failed parts of a batch, before any part succeeds, after which the server is taken to be at fault."""
_RENEW_INTERVAL_S = 1.0
"""Shortest interval between two reconnections for a fault of the server: a broken row must not slow others."""
_PATIENCE_PARTS = 4
"""A batch waits for a lock for a fraction of the time that a single request waits: one divided by this."""
_CULPRIT_WAIT_MS = 20
"""Lock timeout while a batch is halved to find the request that needs an unavailable lock."""
_STOP_TIMEOUT_S = 5.0
"""Time for the waiting requests when the service stops."""


class GroupCommit(Generic[Request, Answer]):
    """Collects requests and commits them in batches, one at a time, on a connection of its own."""

    def __init__(
        self,
        kind: str,
        database: DatabaseSettings,
        batches: BatchSettings,
        tasks: SupervisedTasks,
        write_batch: WriteBatch[Request, Answer],
        names_of: NamesOf[Request],
        held_elsewhere: HeldElsewhere[Request],
        order: Callable[[Request], Any] | None = None,
        rows_of: Callable[[Request], int] | None = None,
    ) -> None:
        self._backlog_max = batches.backlog_max
        self._write_timeout_s = database.write_timeout_ms / 1000
        self._kind = kind
        self._write_batch = write_batch
        self._names_of = names_of
        self._held_elsewhere = held_elsewhere
        self._queue: BatchQueue[tuple[Request, asyncio.Future[Answer]]] = BatchQueue(
            batch_max=batches.size_max,
            linger_s=batches.linger_us / 1e6,
            awaited=0.5,
            order=None if order is None else lambda waiting: order(waiting[0]),
            weight=None if rows_of is None else lambda waiting: rows_of(waiting[0]),
        )
        self.last_writes = LastWrites()
        self._held: HeldLane[Request, Answer] = HeldLane(
            kind, database, batches, tasks, names_of, held_elsewhere, self.resubmit, self.last_writes
        )
        # Requests that need a held lock wait in the held lane; the batch itself can be less patient.
        lock_wait_ms = max(database.lock_timeout_ms // _PATIENCE_PARTS, 1)
        self._database = replace(database, lock_timeout_ms=lock_wait_ms)
        self._looking_for_culprit = self._stopping = False
        self._connection: Any = None
        self._renewed_at = -_RENEW_INTERVAL_S
        self._refusals = Refusals(kind)
        self._tasks = tasks
        self._task: SupervisedTask | None = None
        self._size_metric = BATCH_SIZE.labels(kind)
        self._seconds_metric = BATCH_SECONDS.labels(kind)
        self._backlog_metric = BACKLOG.labels(kind)

    def start(self) -> None:
        """Begin to write. Connects with the first batch, so that a database that is away does not prevent the start."""
        name = f"group-commit-{self._kind}"
        self._task = self._tasks.start(name, self._run, ends_when=lambda: self._stopping)
        self._held.start()

    async def stop(self) -> None:
        """Write the waiting requests, then end. Requests that can't be written in time are refused as unavailable."""
        self._stopping = True
        await self._held.stop()
        self._queue.close()
        if self._task is not None:
            await self._task.ended(_STOP_TIMEOUT_S)
        for _, future in self._queue.take_all():
            resolve(future, Unavailable("the service is stopping", reason="stopping"))
        self._disconnect()

    def submit(self, request: Request) -> "asyncio.Future[Answer]":
        """Accept the request and return the future of its answer after the commit, without a task per request.

        The future may raise a WalletError: a refusal of this request only, or Unavailable if the database is away (it
        may have taken effect then; sending it again under its key is safe). `submit` itself raises Overloaded if too
        many wait, or Unavailable if the service is stopping: the request was not accepted.
        """
        if self.is_full:
            raise Overloaded("too many requests are waiting")
        if self._stopping:
            raise Unavailable("the service is stopping", reason="stopping")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        if self._held.is_empty or not self._held.takes(request, future):
            self._queue.add((request, future))
        return future

    def resubmit(self, request: Request, future: "asyncio.Future[Answer]") -> None:
        """Accept a request that was set apart."""
        if self._stopping:
            resolve(future, Unavailable("the service is stopping", reason="stopping"))
        elif not future.done():
            self._queue.add((request, future))

    @property
    def is_full(self) -> bool:
        """Whether so many requests wait that no other is accepted."""
        return len(self._queue) >= self._backlog_max

    async def _run(self) -> None:
        while batch := await self._queue.next_batch():
            self._backlog_metric.set(len(self._queue))
            self._size_metric.observe(len(batch))
            started = time.perf_counter()
            deadline = asyncio.get_running_loop().time() + self._write_timeout_s
            try:
                await self._commit(batch, deadline)
            except BaseException:
                self._disconnect()
                for _, future in batch:
                    resolve(future, Unavailable("the writer was interrupted; send the same request again"))
                raise
            self._seconds_metric.observe(time.perf_counter() - started)

    async def _commit(self, batch: "_Waiting[Request, Answer]", deadline: float) -> None:
        """Answer every request of the batch by the deadline (of the event loop's clock), whatever the server says.

        The parts of a failed batch are tried breadth-first, so that it soon shows whether any of them succeeds.
        """
        parts = deque([batch])
        alone: list[tuple[Request, asyncio.Future[Answer], Exception]] = []
        """Requests that failed on their own, with the error."""
        stuck: _Waiting[Request, Answer] = []
        """Requests that waited alone for a lock that no query can check."""
        futile = 0
        served: set[type] = set()
        """Types of the requests that succeeded."""
        while parts:
            part = parts.popleft()
            try:
                async with asyncio.timeout_at(deadline):
                    answers = await self._write_with_retries([request for request, _ in part])
            except Exception as error:  # noqa: BLE001  # whatever it is, each request gets its own answer
                futile += 1
                fault = fault_of(error)
                nobody = fault in (Fault.CONNECTION, Fault.SHORTAGE)
                if nobody or (futile >= _FUTILE_MAX and not served):
                    rest = [*part, *(one for others in parts for one in others)]
                    self._refuse(rest, error, and_waiting=nobody)
                    parts.clear()
                elif fault is Fault.LOCKED:
                    parts.extendleft(await self._without_held(part, stuck, deadline, error))
                elif len(part) == 1:
                    alone.append((*part[0], error))
                else:
                    parts += [part[: len(part) // 2], part[len(part) // 2 :]]
            else:
                served |= kinds_written([request for request, _ in part], answers)
                self.last_writes.succeeded(served)
                for (_, future), answer in zip(part, answers, strict=True):
                    resolve(future, answer)
        for request, future in stuck:
            if served:
                self._held.bar(request)
            resolve(future, Unavailable("somebody else keeps a lock", reason=LOCKED))
        if self._looking_for_culprit:
            await self._wait_for_locks(deadline, self._database.lock_timeout_ms)
        if alone:
            for request, _, why in alone:
                if type(request) not in served:
                    self.last_writes.failed_alone(type(request), self._names_of(request)[0][0], why)
            self._refusals.refuse_alone([one[1:] for one in alone], others_went_through=bool(served))

    async def _write_with_retries(self, requests: Sequence[Request]) -> Answers[Answer]:
        reconnected = False
        for attempt in range(1, _RETRIES_MAX + 1):
            try:
                return await self._write(requests)
            except Exception as error:
                fault = fault_of(error)
                again = attempt < _RETRIES_MAX
                if fault in (Fault.CONNECTION, Fault.SHORTAGE) or (
                    fault is Fault.SERVER and self._distrusts(error)
                ):
                    self._disconnect()
                    again = again and not reconnected and fault is not Fault.SHORTAGE
                    reconnected = True
                elif fault is not Fault.CONTENTION:
                    again = False
                if not again:
                    raise
        raise AssertionError("unreachable")

    async def _write(self, requests: Sequence[Request]) -> Answers[Answer]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._database)
        answers = await self._write_batch(self._connection, requests)
        if isinstance(answers, Rejected):
            raise BatchRejected(answers.reason)
        if len(answers) == len(requests):
            return answers
        raise LookupError(f"{len(answers)} answers to {len(requests)} requests")

    def _distrusts(self, error: Exception) -> bool:
        """Return whether the fault may be limited to this session, so that a new session may help."""
        if not isinstance(error, PostgresError):
            return True  # the answer made no sense: the next one on this connection may not either
        now = asyncio.get_running_loop().time()
        if now < self._renewed_at + _RENEW_INTERVAL_S:
            return False
        self._renewed_at = now
        return True

    async def _without_held(
        self,
        part: "_Waiting[Request, Answer]",
        stuck: "_Waiting[Request, Answer]",
        deadline: float,
        error: Exception,
    ) -> "list[_Waiting[Request, Answer]]":
        """Set the requests apart that need a lock held elsewhere; return the others, to be tried at once.

        Only a lock that no query can check is found by halves. If even the query has to wait (a table is locked), all
        are refused, also those in the queue.
        """
        try:
            async with asyncio.timeout_at(deadline):
                held = await self._held_elsewhere(self._connection, [request for request, _ in part])
            free = [one for one, names in zip(part, held, strict=True) if not names]
        except Exception as problem:  # noqa: BLE001  # whatever it is, each request gets an answer
            self._disconnect()
            waited = fault_of(problem) in (Fault.LOCKED, Fault.CONNECTION)
            self._refuse(part, error if waited else problem, and_waiting=True)
            return []
        for (request, future), names in zip(part, held, strict=True):
            if names:
                resolve(future, SetApart(partial(self._held.add, next(iter(names)), request)))
        if len(free) < len(part):
            return [free] if free else []
        if len(part) == 1:
            stuck += part
            return []
        if not self._looking_for_culprit:
            await self._wait_for_locks(deadline, _CULPRIT_WAIT_MS)
        return [part[len(part) // 2 :], part[: len(part) // 2]]

    async def _wait_for_locks(self, deadline: float, wait_ms: int) -> None:
        """Set the time to wait for each lock from here on."""
        self._looking_for_culprit = wait_ms == _CULPRIT_WAIT_MS
        try:
            async with asyncio.timeout_at(deadline):
                await self._connection.execute(f"set lock_timeout = {wait_ms}")
        except Exception as error:  # noqa: BLE001  # a new connection has the right lock timeout
            log.debug("lock_timeout_not_set", kind=self._kind, error=text_of(error))
            self._disconnect()

    def _refuse(
        self, part: "_Waiting[Request, Answer]", error: Exception, *, and_waiting: bool = False
    ) -> None:
        """Refuse the requests at once and, with `and_waiting`, those in the queue too, so that none hangs."""
        self.last_writes.failed(error)
        everybody = part + self._queue.take_all() if and_waiting else part
        self._refusals.refuse_all([future for _, future in everybody], error)

    def _disconnect(self) -> None:
        connection, self._connection, self._looking_for_culprit = self._connection, None, False
        if connection is not None:
            connection.terminate()

"""The bank's books: durable, in booking order, one payout per reference.

SQLite in WAL mode with synchronous=FULL: a payment is answered only after the commit that holds it is on
disk, so kill -9 (and a power cut) loses nothing that was answered. Why SQLite and not a journal of our own:
torn writes, the index by reference, updates (returns) and bounded memory at millions of payouts come with
it. Measured at five payouts per commit: SQLite takes 46 µs of CPU per payout, an append-only journal with a
dict 18 µs.

Writes are committed in groups. What arrives while a commit is in flight makes up the next one. Once two meet
in a commit there is load, and the next commit starts PACE_S later at the earliest: a commit costs 200 µs of
CPU however small. A lone caller is never paced.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from .book_file import BookFile
from .entries import Answer, Operation, PayoutOrder
from .telemetry import log

PACE_S = 0.005  # s from the start of a commit to the next: at 1,300 payouts/s about seven share a commit
BATCH_MAX = 500  # operations per commit
PENDING_MAX = 10_000  # operations taken and not yet written, delayed ones included


class BooksBusy(Exception):
    """Too much is waiting to be written. Nothing of this operation was booked."""


class BooksFailed(Exception):
    """The commit failed (a full disk?). Whether it was booked is not known."""


class Books:
    """Group commit in front of the file. Its methods belong to the event loop's thread."""

    def __init__(self, file: BookFile) -> None:
        self.file = file
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="books")
        self._waiting: deque[tuple[Operation, asyncio.Future[Answer]]] = deque()
        self._delayed: dict[PayoutOrder, asyncio.TimerHandle] = {}
        self._futures: dict[PayoutOrder, asyncio.Future[Answer]] = {}
        self._flusher: asyncio.Task[None] | None = None
        self._next_commit_at = 0.0  # the loop's clock, s

    def submit(self, operation: Operation) -> asyncio.Future[Answer]:
        """Book it with the next commit; the answer comes once it is on disk.

        Giving up on the answer does not stop the booking. Raises BooksBusy; the answer may be BooksFailed.
        """
        self._check_room()
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._enqueue(operation, future)
        return future

    def submit_later(self, order: PayoutOrder, delay_s: float) -> asyncio.Future[Answer]:
        """Book it after `delay_s`, whether or not anybody still waits for it: slow banks do so."""
        self._check_room()
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._delayed[order] = self._loop.call_later(delay_s, self._due, order, future)
        self._futures[order] = future
        return future

    def hurry(self) -> None:
        """Book at once what is delayed: called when the bank is about to stop."""
        for order, timer in list(self._delayed.items()):
            timer.cancel()
            self._due(order, self._futures[order])

    async def close(self) -> None:
        """Write what is left and close the file."""
        self.hurry()
        if self._flusher is not None:
            await self._flusher
        self._thread.shutdown(wait=True)
        self.file.close()

    def _check_room(self) -> None:
        if len(self._waiting) + len(self._delayed) >= PENDING_MAX:
            raise BooksBusy

    def _due(self, order: PayoutOrder, future: asyncio.Future[Answer]) -> None:
        del self._delayed[order], self._futures[order]
        self._enqueue(order, future)

    def _enqueue(self, operation: Operation, future: asyncio.Future[Answer]) -> None:
        self._waiting.append((operation, future))
        self._begin_to_flush()

    def _begin_to_flush(self) -> None:
        if self._flusher is None and self._waiting:
            self._flusher = self._loop.create_task(self._flush(), name="books")

    async def _flush(self) -> None:
        """Commit batch after batch until nothing waits; at most one runs at a time."""
        try:
            while self._waiting:
                pause_s = self._next_commit_at - self._loop.time()
                if pause_s > 0:
                    await asyncio.sleep(pause_s)
                batch = [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]
                if len(batch) > 1:
                    self._next_commit_at = self._loop.time() + PACE_S
                await self._commit(batch)
        finally:
            self._flusher = None
            self._begin_to_flush()  # if it was broken off: what waits must not wait for the next to come

    async def _commit(self, batch: list[tuple[Operation, asyncio.Future[Answer]]]) -> None:
        """Write a batch. Whatever happens, each of its callers is answered."""
        operations = [operation for operation, _ in batch]
        try:
            answers = await self._loop.run_in_executor(self._thread, self.file.write, operations)
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():  # its caller may have hung up
                    future.set_result(answer)
        except BaseException as error:  # each caller gets it
            for _, future in batch:
                if not future.done():
                    future.set_exception(BooksFailed(str(error)))
            if isinstance(error, asyncio.CancelledError):
                raise
            log("books_not_written", logging.ERROR, exc_info=True, operations=len(batch))

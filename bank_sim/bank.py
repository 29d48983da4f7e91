"""The endpoints of the bank (what they promise stands in `app.py`)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sanic import HTTPResponse, Request
from sanic.exceptions import RequestCancelled

from . import replies, requests
from .book_file import BookFile
from .books import PACE_S, Books
from .changes import Changes
from .entries import Answer, PayoutOrder, ReturnOrder, SaveFaults, Verb
from .faults import NO_FAULTS, FaultInjector, Faults, Verdict
from .replies import Refusal
from .settings import Settings
from .signers import Signers
from .supervision import keep_running
from .telemetry import FAULTS, PAYOUTS, log

if TYPE_CHECKING:
    from .callbacks import Callbacks

HANG_S = 90.0
HANGING_MAX = 256  # connections; beyond it a hang is a cut connection


class Bank:
    """The endpoints. One instance per process."""

    _books: Books
    _changes: Changes

    def __init__(self, settings: Settings, file: BookFile) -> None:
        self._settings = settings
        self._file = file
        saved = file.faults_json()
        self._injector = FaultInjector(
            settings.faults if saved is None else msgspec.json.decode(saved, type=Faults)
        )
        self._hanging = 0
        self._stopping = asyncio.Event()
        self._callbacks: Callbacks | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to write and to do what is due. Called on the event loop, before the first request."""
        self._books = Books(self._file)
        if self._settings.callback_url:
            from .callbacks import Callbacks  # its HTTP client takes 0.2 s to load

            signers = Signers(self._settings.webhooks, self._settings.webhooks_file)
            self._callbacks = Callbacks(self._books, self._settings.callback_url, signers)
            self._tasks.append(keep_running("callbacks", self._callbacks.run))
        self._changes = Changes(self._books, self._injector.plan_callback, self._tell)
        self._tasks.append(keep_running("changes", self._changes.run))

    @property
    def stopping(self) -> bool:
        """True once the bank was told to stop."""
        return self._stopping.is_set()

    def stop_waiting(self) -> None:
        """End hangs and delays: called when the bank is told to stop, before its connections are drained."""
        self._stopping.set()
        self._books.hurry()

    async def close(self) -> None:
        """Write everything that was taken and close the books."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._books.close()

    # --- payouts ---

    async def pay(self, request: Request) -> HTTPResponse:
        """Answer POST /payouts."""
        self._refuse_in_outage()
        order, wish = requests.payout_order(request)
        if wish is not None and wish.outage:
            raise Refusal(503, "outage", "The bank is out of order for this destination")
        order.plan = self._injector.plan(order.reference) if wish is None else wish.plan
        order.key_window_us = 1000 * self._injector.faults.key_window_ms
        verdict = self._injector.attempt("pay", order.reference)
        if (verdict.hang or verdict.error_status) and not verdict.after_paying:
            return await self._fail(request, verdict)
        if verdict.delay_s and not self._stopping.is_set():
            FAULTS.labels("latency").inc()
            loop = asyncio.get_running_loop()
            answered_at = loop.time() + verdict.delay_s
            # The commit is a part of the latency, not something that comes on top of it.
            answer = await self._books.submit_later(order, max(0.0, verdict.delay_s - PACE_S))
            await self._pause(answered_at - loop.time())
        else:
            answer = await self._books.submit(order)
        if answer.verb is Verb.BOOKED:
            self._booked(order)
            if wish is not None and wish.first.after_paying:
                return await self._fail(request, wish.first, after_delay=True)
        if verdict.after_paying:
            return await self._fail(request, verdict, after_delay=True)
        return self._payment_answer(answer)

    def _booked(self, order: PayoutOrder) -> None:
        """Count a new payout and see to what becomes of it later."""
        PAYOUTS.inc() if order.plan.status == "paid" else FAULTS.labels(order.plan.status).inc()
        if order.plan.changes:
            self._changes.wake()

    def _payment_answer(self, answer: Answer) -> HTTPResponse:
        payout = answer.payout
        assert payout is not None
        if answer.verb is Verb.CONFLICT:
            raise Refusal(
                409, "payout_conflict", "This reference or Idempotency-Key stands for another payout"
            )
        if payout.status == "declined" and payout.paid_us is None:
            return replies.decline(payout)
        return replies.receipt(self._file.books_id, payout, 201 if answer.verb is Verb.BOOKED else 200)

    async def find(self, request: Request, reference: str) -> HTTPResponse:
        """Answer GET /payouts/{reference}."""
        self._refuse_in_outage()
        verdict = self._injector.attempt("find", reference)
        if verdict.hang or verdict.error_status:
            return await self._fail(request, verdict)
        await self._delay(verdict)
        payout = self._file.find(reference)
        if payout is None:
            raise Refusal(404, "payout_not_found", "No payout with this reference")
        return replies.as_json(replies.found(self._file.books_id, payout))

    async def list(self, request: Request) -> HTTPResponse:
        """Answer GET /payouts?after=&limit=."""
        after, limit = requests.page(request)
        found = self._file.page(0 if after is None else self._place_of(after), limit + 1)
        lines = [replies.line(self._file.books_id, payout) for payout in found[:limit]]
        following = lines[-1].payout_id if len(found) > limit else None
        return replies.as_json({"payouts": lines, "next": following})

    def _place_of(self, after: str) -> int:
        seq = replies.seq_of(self._file.books_id, after)
        place = None if seq is None else self._file.place_of(seq)
        if place is None:
            raise replies.invalid("after", "not a cursor of these books")
        return place

    async def take_back(self, request: Request, reference: str) -> HTTPResponse:
        """Answer POST /payouts/{reference}/return."""
        amount = requests.returned_amount(request)
        answer = await self._books.submit(ReturnOrder(reference, self._injector.plan_callback, amount))
        if answer.payout is None:
            raise Refusal(404, "payout_not_found", "No payout with this reference")
        if answer.verb is Verb.NOT_PAID:
            raise Refusal(409, "not_paid", "No money has left for this payout that could come back")
        if answer.verb is Verb.TOO_MUCH:
            raise replies.invalid("amount", "more than was paid")
        self._tell()
        return replies.as_json(replies.found(self._file.books_id, answer.payout))

    def _tell(self) -> None:
        if self._callbacks is not None:
            self._callbacks.wake()

    # --- faults ---

    def _refuse_in_outage(self) -> None:
        if self._injector.faults.outage:
            FAULTS.labels("outage").inc()
            raise Refusal(503, "outage", "The bank is out of order")

    async def _fail(self, request: Request, verdict: Verdict, *, after_delay: bool = False) -> HTTPResponse:
        """Let this attempt end badly, as its verdict says."""
        if verdict.hang:
            FAULTS.labels("hang").inc()
            await self._hang()
            return await _cut_off(request)
        if verdict.lost_reply:
            FAULTS.labels("lost_reply").inc()
            return await _cut_off(request)
        if not after_delay:
            await self._delay(verdict)
        FAULTS.labels("error").inc()
        code = {429: "too_many_requests", 503: "temporarily_unavailable"}.get(
            verdict.error_status, "internal_error"
        )
        raise Refusal(verdict.error_status, code, "Something went wrong at the bank")

    async def _delay(self, verdict: Verdict) -> None:
        if verdict.delay_s:
            FAULTS.labels("latency").inc()
            await self._pause(verdict.delay_s)

    async def _hang(self) -> None:
        if self._hanging >= HANGING_MAX:
            return
        self._hanging += 1
        try:
            await self._pause(HANG_S)
        finally:
            self._hanging -= 1

    async def _pause(self, seconds: float) -> None:
        """Sleep, less if the bank is told to stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    async def get_faults(self, _request: Request) -> HTTPResponse:
        """Answer GET /faults."""
        return replies.as_json(self._injector.faults)

    async def put_faults(self, request: Request) -> HTTPResponse:
        """Answer PUT /faults."""
        return await self._set_faults(requests.faults(request))

    async def delete_faults(self, _request: Request) -> HTTPResponse:
        """Answer DELETE /faults."""
        return await self._set_faults(NO_FAULTS)

    async def _set_faults(self, faults: Faults) -> HTTPResponse:
        await self._books.submit(SaveFaults(msgspec.json.encode(faults).decode()))
        self._injector.replace(faults)
        log("faults_set", **msgspec.structs.asdict(faults))
        return replies.as_json(faults)

    # --- operating ---

    async def health(self, _request: Request) -> HTTPResponse:
        """Answer GET /health."""
        return replies.as_json(
            {
                "status": "ok",
                "callbacks_waiting": self._file.callbacks_waiting(),
                "faults": self._injector.faults != NO_FAULTS,
            }
        )

    async def metrics(self, _request: Request) -> HTTPResponse:
        """Answer GET /metrics."""
        return HTTPResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST)


async def _cut_off(request: Request) -> HTTPResponse:
    """Close the connection without an answer. The server then cancels this handler."""
    cast("asyncio.Transport", request.transport).abort()
    await asyncio.sleep(1)
    raise RequestCancelled

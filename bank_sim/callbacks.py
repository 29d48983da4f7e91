"""Tells the wallet what became of its payouts since they were answered, until it says that it knows.

Signed by the Standard Webhooks specification: every try carries the same webhook-id, so that the receiver
can drop doubles, and a fresh timestamp, so that it can refuse replays. While the secret is replaced, both the
new and the old one sign. What is left to tell stands in the books, so a restart continues it.
"""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime
from typing import Any

import aiohttp
import msgspec

from .books import Books, BooksBusy, BooksFailed
from .entries import CallbackResult, DueCallback, rfc3339
from .replies import payout_id
from .signers import Signers
from .telemetry import CALLBACKS, log

AT_ONCE_MAX = 16  # callbacks in flight
TIMEOUT_S = 5.0
BACKOFF_S_MIN = 0.5
BACKOFF_S_MAX = 10.0  # small, so that a healed wallet hears soon
IDLE_S_MAX = 10.0  # looks at the books at least this often


def backoff_s(attempts: int) -> float:
    """Return the pause after the `attempts`-th failed try: doubling, capped, ±25 % so that they spread."""
    doubled = BACKOFF_S_MIN * float(2 ** min(attempts - 1, 10))
    return min(BACKOFF_S_MAX, doubled) * random.uniform(0.75, 1.25)


class Callbacks:
    """One background task that works off the callbacks in the books."""

    def __init__(self, books: Books, url: str, signers: Signers) -> None:
        self._books = books
        self._url = url
        self._signers = signers
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look at the books now: something became of a payout."""
        self._wake.set()

    async def run(self) -> None:
        """Deliver until cancelled. A try that is cut off is made again after the next start."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                self._wake.clear()
                due = self._books.file.due_callbacks(AT_ONCE_MAX)
                if due:
                    await asyncio.gather(*(self._deliver(session, callback) for callback in due))
                else:
                    await self._idle()

    async def _idle(self) -> None:
        next_us = self._books.file.next_callback_us()
        pause_s = IDLE_S_MAX if next_us is None else next_us / 1e6 - time.time()
        try:
            async with asyncio.timeout(min(max(pause_s, 0.01), IDLE_S_MAX)):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _deliver(self, session: aiohttp.ClientSession, callback: DueCallback) -> None:
        reference = callback.payout.reference
        attempts = callback.attempts + 1
        problem = await self._send(session, callback)
        delivered = problem is None
        CALLBACKS.labels("delivered" if delivered else "failed").inc()
        log(
            "callback_delivered" if delivered else "callback_failed",
            reference=reference,
            type=callback.type,
            attempts=attempts,
            problem=problem,
        )
        retry_in_s = 0.0 if delivered else backoff_s(attempts)
        try:
            await self._books.submit(
                CallbackResult(callback.payout.seq, callback.type, delivered, int(retry_in_s * 1e6))
            )
        except (BooksBusy, BooksFailed) as error:
            # It stays due and goes out again: the receiver drops doubles by the id. Not in a tight loop.
            log("callback_not_noted", reference=reference, problem=str(error))
            await asyncio.sleep(BACKOFF_S_MIN)

    async def _send(self, session: aiohttp.ClientSession, callback: DueCallback) -> str | None:
        """Make one try. Return None if it was taken (2xx), else what was wrong."""
        body = self._body(callback)
        webhook_id = "msg_" + payout_id(self._books.file.books_id, callback.payout.seq)
        if callback.type != "payout.returned":
            webhook_id += callback.type.replace("payout.", "_")
        now = datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(one.sign(webhook_id, now, body) for one in self._signers.now()),
        }
        try:
            async with session.post(
                self._url, data=body.encode(), headers=headers, allow_redirects=False
            ) as reply:
                return None if 200 <= reply.status < 300 else f"status {reply.status}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return type(error).__name__

    def _body(self, callback: DueCallback) -> str:
        """Return the event as it was when it happened: the next one tells what became of the payout since."""
        payout, at = callback.payout, rfc3339(callback.at_us)
        data: dict[str, Any] = {
            "reference": payout.reference,
            "payout_id": payout_id(self._books.file.books_id, payout.seq),
            "amount": payout.amount,
            "currency": payout.currency,
        }
        if callback.type == "payout.returned":
            data |= {"returned_at": at, "returned_amount": payout.returned_amount}
        elif callback.type == "payout.declined":
            data |= {"declined_at": at, "code": payout.decline_code}
        else:
            data |= {"paid_at": at}
        return msgspec.json.encode({"type": callback.type, "timestamp": at, "data": data}).decode()

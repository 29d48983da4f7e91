"""Carries out what was planned for payouts: pending ones are paid or declined, paid ones come back.

What is planned stands in the books, so a killed bank goes on with it after its next start.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from .books import Books, BooksBusy, BooksFailed
from .entries import ApplyChanges, PlanCallback
from .telemetry import log

IDLE_S_MAX = 10.0  # looks at the books at least this often
FAILED_S = 0.5  # after a commit that failed


class Changes:
    """One background task that works off the changes in the books."""

    def __init__(self, books: Books, plan_callback: PlanCallback, tell: Callable[[], None]) -> None:
        """Call `tell` whenever something became of payouts."""
        self._books = books
        self._plan_callback = plan_callback
        self._tell = tell
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look at the books now: something was planned."""
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            self._wake.clear()
            next_us = self._books.file.next_change_us()
            pause_s = IDLE_S_MAX if next_us is None else next_us / 1e6 - time.time()
            if pause_s > 0:
                await self._idle(min(pause_s, IDLE_S_MAX))
                continue
            try:
                await self._books.submit(ApplyChanges(self._plan_callback))
            except (BooksBusy, BooksFailed) as error:
                log("changes_not_written", problem=str(error))
                await asyncio.sleep(FAILED_S)
            self._tell()

    async def _idle(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

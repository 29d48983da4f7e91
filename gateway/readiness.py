"""Tells whether this process can serve writes, by the latest results of its writers and by a trial write."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from db.errors import AWAY, CONNECTIONS_USED_UP, CONTENDED, SLOW
from db.last_writes import LastWrites
from db.write_trial import WriteTrial

FAILING_S = 3.0
"""A writer that failed within this time, and no writer has succeeded since, is believed before any trial."""
WRITTEN_S = 3.0
"""A writer that wrote within this time can write, even if a trial, in a session of its own, could not."""
FRESH_S = 2.0
"""The result of a trial that succeeded is used for this time, that of a failed one for half of it."""

_OF_ITS_SESSION = (CONNECTIONS_USED_UP, CONTENDED, SLOW)
"""Reasons that may hit a trial's new session and spare the writers' old ones."""

_OF_A_MOMENT = (AWAY, CONTENDED)
"""Reasons that may be over at once: a session that was ended, say. A trial that met one is made again."""


class Readiness:
    """Judges whether writes go through. However often it is asked, it makes a trial only now and then."""

    def __init__(
        self,
        last_writes: Sequence[LastWrites],
        try_to_write: Callable[[], Awaitable[WriteTrial]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._last_writes = last_writes
        self._try_to_write = try_to_write
        self._clock = clock
        self._trial: WriteTrial | None = None
        self._tried_at = 0.0
        self._trying = asyncio.Lock()

    async def verdict(self) -> tuple[bool, WriteTrial]:
        """Return whether writes go through, and the result of the last trial (or of the writers)."""
        written_s = min((last.success_age_s() for last in self._last_writes), default=float("inf"))
        for last in self._last_writes:
            reason = last.failing(min(FAILING_S, written_s)) or last.failing_kind(FAILING_S)
            if reason is not None:
                return False, WriteTrial(reason, "writes were refused")
        trial = await self._fresh_trial()
        if trial.reason is None or trial.accepts:
            return True, trial
        return trial.reason in _OF_ITS_SESSION and written_s < WRITTEN_S, trial

    async def _fresh_trial(self) -> WriteTrial:
        async with self._trying:
            if self._trial is None or not self._is_fresh(self._trial):
                self._trial = await self._try_to_write()
                if self._trial.reason in _OF_A_MOMENT:
                    self._trial = await self._try_to_write()
                self._tried_at = self._clock()
            return self._trial

    def _is_fresh(self, trial: WriteTrial) -> bool:
        age_s = self._clock() - self._tried_at
        if trial.reason is None:
            return age_s <= FRESH_S
        # A write that succeeded since then shows that the trouble may be over.
        return age_s <= FRESH_S / 2 and all(last.success_age_s() >= age_s for last in self._last_writes)

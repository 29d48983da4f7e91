"""A limit on log lines for an event that may happen a thousand times per second."""

import time
from collections.abc import Callable


class Throttle:
    """Lets one event through per interval, and counts the others."""

    def __init__(self, interval_s: float = 1.0, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._next_at: float | None = None
        self.left_out = 0
        """Number of events suppressed before the last one that was let through."""
        self._left_out = 0

    def lets_through(self) -> bool:
        """Return whether this event is to be logged."""
        now = self._clock()
        if self._next_at is not None and now < self._next_at:
            self._left_out += 1
            return False
        self._next_at = now + self._interval_s
        self.left_out, self._left_out = self._left_out, 0
        return True

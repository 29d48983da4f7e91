"""Limits on log lines for events that may happen a thousand times per second."""

import logging
import time
from collections.abc import Callable

FLOOD_LINES_PER_S = 20
"""Lines per second of the same warning or error that are written."""
FLOOD_EVENTS_MAX = 1_000
"""Events that are told apart: library messages may carry values."""


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


class FloodGuard(logging.Filter):
    """Keeps a trouble that repeats itself from filling the disk.

    The first lines of each warning or error in each second are written, the others counted: the next one that is
    written has `not_logged`, their number. Lines below the level `warning` always pass.
    """

    def __init__(
        self, lines_per_s: int = FLOOD_LINES_PER_S, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._lines_per_s = lines_per_s
        self._clock = clock
        self._seen: dict[tuple[str, int, str], list[int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is written."""
        if record.levelno < logging.WARNING:
            return True
        key = (record.name, record.levelno, str(record.msg))
        second = int(self._clock())
        if key not in self._seen and len(self._seen) >= FLOOD_EVENTS_MAX:
            self._seen.clear()
        seen = self._seen.setdefault(key, [second, 0, 0])  # the second, lines in it, lines not written
        if seen[0] != second:
            seen[0], seen[1] = second, 0
        seen[1] += 1
        if seen[1] > self._lines_per_s:
            seen[2] += 1
            return False
        if seen[2]:
            record.ids = {**getattr(record, "ids", {}), "not_logged": seen[2]}
            seen[2] = 0
        return True

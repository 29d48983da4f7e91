"""Foreign messages: each is counted, but only few are logged, so that a flood of them can't fill the log."""

import threading
import time

from runtime.telemetry import MESSAGES_REJECTED, log, start_at_zero

LOG_INTERVAL_S = 10.0

start_at_zero(MESSAGES_REJECTED, ("unknown_withdrawal", "unreadable"))


class Rejections:
    """Counts and logs rejected messages; the consumer's thread and those of the actors call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._silent_until = 0.0
        self._unlogged = 0

    def add(self, reason: str, *, size: int | None = None, detail: str | None = None) -> None:
        """Record a message that becomes a dead letter. `reason` is one of a few values, `detail` is free text."""
        MESSAGES_REJECTED.labels(reason).inc()
        now = time.monotonic()
        with self._lock:
            if now < self._silent_until:
                self._unlogged += 1
                return
            unlogged, self._unlogged = self._unlogged, 0
            self._silent_until = now + LOG_INTERVAL_S
        log.warning("message_rejected", reason=reason, detail=detail, size=size, others_unlogged=unlogged)


rejections = Rejections()
"""The rejections of this process."""

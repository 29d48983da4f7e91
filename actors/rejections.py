"""Messages that are none of ours: each is counted, and so many of them logged that a flood can't fill the log."""

import threading
import time

from runtime.telemetry import MESSAGES_REJECTED, log

LOG_INTERVAL_S = 10.0


class Rejections:
    """Counts and logs rejected messages; called from the consumer's thread and from those of the actors."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._silent_until = 0.0
        self._unlogged = 0

    def add(self, reason: str, *, size: int | None = None, detail: str | None = None) -> None:
        """Take note of a message that becomes a dead letter. `reason` is one of a few, `detail` may be anything."""
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
"""Of this process."""

"""What became of a writer's last transactions: what health asks before anything else."""

import time
from collections.abc import Callable


class LastWrites:
    """When a writer last wrote, and when and why it last could not write for anybody. By its own monotonic clock."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._succeeded_at = self._failed_at = -float("inf")
        self._reason = ""

    def succeeded(self) -> None:
        """A transaction went through."""
        self._succeeded_at = self._clock()

    def failed(self, reason: str) -> None:
        """Everybody was refused, for this reason (a token of `db.errors`)."""
        self._failed_at, self._reason = self._clock(), reason

    def success_age_s(self) -> float:
        """Return how long ago a transaction last went through."""
        return self._clock() - self._succeeded_at

    def failing(self, within_s: float) -> str | None:
        """Return why nobody could be served, if that was less than `within_s` ago and nothing went through since."""
        if self._failed_at <= self._succeeded_at or self._clock() - self._failed_at > within_s:
            return None
        return self._reason

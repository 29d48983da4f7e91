"""What became of a writer's last transactions: what health asks before anything else."""

import time
from collections.abc import Callable, Hashable

from db.errors import reason_of, translate
from wallet.errors import Unavailable


class LastWrites:
    """When a writer last wrote, and when and why it last could not write for anybody. By its own monotonic clock."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._succeeded_at = self._failed_at = -float("inf")
        self._reason = ""
        self._alone: Hashable = None
        """Whose request was the first, since a transaction last went through, to fail all by itself."""

    def succeeded(self) -> None:
        """A transaction went through."""
        self._succeeded_at = self._clock()
        self._alone = None

    def failed(self, error: Exception) -> None:
        """Everybody was refused, because of this error."""
        self._failed_at, self._reason = self._clock(), reason_of(error)

    def failed_alone(self, whose: Hashable, error: Exception) -> None:
        """A request failed all by itself. It may be at fault; once another's does too, and none went through, it is
        not."""
        if not isinstance(translate(error), Unavailable):
            return  # it is at fault
        if self._alone is None:
            self._alone = whose
        elif self._alone != whose:
            self.failed(error)

    def success_age_s(self) -> float:
        """Return how long ago a transaction last went through."""
        return self._clock() - self._succeeded_at

    def failing(self, within_s: float) -> str | None:
        """Return why nobody could be served, if that was less than `within_s` ago and nothing went through since."""
        if self._failed_at <= self._succeeded_at or self._clock() - self._failed_at > within_s:
            return None
        return self._reason

"""What became of a writer's last transactions: what health asks before anything else."""

import time
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field

from db.errors import LOCKED, reason_of, translate
from wallet.errors import Unavailable

_NEVER = -float("inf")
_SUSPICIOUS = 2
_SUSPICIOUS_IF_LOCKED = 5
"""So many whose requests fail one after the other are not at fault themselves. A few wallets may well be locked."""


@dataclass(slots=True)
class _Alone:
    """Requests of one kind that failed all by themselves, since one of that kind last went through."""

    whose: set[Hashable] = field(default_factory=set)
    """Some of those whose requests they were."""
    failed_at: float = _NEVER
    """When one last failed after those of others."""
    reason: str = ""


class LastWrites:
    """When a writer last wrote, and when and why it last could not write. By its own monotonic clock."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._succeeded_at = self._failed_at = _NEVER
        self._reason = ""
        self._alone: dict[type, _Alone] = {}

    def succeeded(self, kinds: Collection[type] = ()) -> None:
        """Note that a transaction went through, with requests of these kinds."""
        self._succeeded_at = self._clock()
        if self._alone:
            self._alone = {kind: one for kind, one in self._alone.items() if kind not in kinds}

    def failed(self, error: Exception) -> None:
        """Note that all requests of a batch were refused, because of this error."""
        self._failed_at, self._reason = self._clock(), reason_of(error)

    def failed_alone(self, kind: type, whose: Hashable, error: Exception) -> None:
        """Note that a request failed all by itself, or because of a lock.

        It may be at fault. It is not, once other requests of its kind fail too, and none in between went through.
        """
        if not isinstance(translate(error), Unavailable):
            return  # it is at fault
        known, reason = self._alone.setdefault(kind, _Alone()), reason_of(error)
        enough = _SUSPICIOUS_IF_LOCKED if reason == LOCKED else _SUSPICIOUS
        if len(known.whose) < _SUSPICIOUS_IF_LOCKED:
            known.whose.add(whose)
        if len(known.whose) >= enough:
            known.failed_at, known.reason = self._clock(), reason

    def success_age_s(self) -> float:
        """Return how long ago a transaction last went through."""
        return self._clock() - self._succeeded_at

    def failing(self, within_s: float) -> str | None:
        """Return why nobody could be served, if that was less than `within_s` ago and nothing went through since."""
        if self._failed_at <= self._succeeded_at or self._clock() - self._failed_at > within_s:
            return None
        return self._reason

    def failing_kind(self, within_s: float) -> str | None:
        """Return why nobody of one kind could be served less than `within_s` ago, whatever others went through."""
        now = self._clock()
        return next((one.reason for one in self._alone.values() if now - one.failed_at <= within_s), None)

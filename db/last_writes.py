"""The results of a writer's last transactions, which health checks before anything else."""

import time
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field

from db.errors import LOCKED, reason_of, translate
from wallet.errors import Unavailable

_NEVER = -float("inf")
_SUSPICIOUS = 2
_SUSPICIOUS_IF_LOCKED = 5
"""If the requests of this many wallets or withdrawals fail in a row, they are not at fault themselves. The number is
higher for locks, because a few wallets may well be locked."""


@dataclass(slots=True)
class _Alone:
    """Requests of one kind that failed on their own since the last success of that kind."""

    whose: set[Hashable] = field(default_factory=set)
    """Some of the wallets or withdrawals of these requests."""
    failed_at: float = _NEVER
    """Time of the last failure, once enough others have failed too."""
    reason: str = ""


class LastWrites:
    """The time of a writer's last success, and the time and reason of its last failure, by its own monotonic clock."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._succeeded_at = self._failed_at = _NEVER
        self._reason = ""
        self._alone: dict[type, _Alone] = {}

    def succeeded(self, kinds: Collection[type] = ()) -> None:
        """Note that a transaction succeeded, with requests of these kinds."""
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
            return  # the request is at fault
        known, reason = self._alone.setdefault(kind, _Alone()), reason_of(error)
        enough = _SUSPICIOUS_IF_LOCKED if reason == LOCKED else _SUSPICIOUS
        if len(known.whose) < _SUSPICIOUS_IF_LOCKED:
            known.whose.add(whose)
        if len(known.whose) >= enough:
            known.failed_at, known.reason = self._clock(), reason

    def success_age_s(self) -> float:
        """Return the time since the last successful transaction."""
        return self._clock() - self._succeeded_at

    def failing(self, within_s: float) -> str | None:
        """Return why no request was served, if that was less than `within_s` ago and no transaction succeeded since."""
        if self._failed_at <= self._succeeded_at or self._clock() - self._failed_at > within_s:
            return None
        return self._reason

    def failing_kind(self, within_s: float) -> str | None:
        """Return why requests of one kind failed less than `within_s` ago, even if other kinds succeeded."""
        now = self._clock()
        return next((one.reason for one in self._alone.values() if now - one.failed_at <= within_s), None)

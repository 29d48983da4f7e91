"""Limits how often each client may call."""

from collections.abc import Callable
from time import monotonic

from gateway.contract.problems import RateLimited


class RateLimiter:
    """One token bucket per client: it fills by `per_s` tokens per second and holds as many.

    Each gateway process counts for itself, so the limit of a client is `per_s` times their number.
    """

    def __init__(self, per_s: int, clock: Callable[[], float] = monotonic) -> None:
        assert per_s > 0
        self._per_s = float(per_s)
        self._clock = clock
        self._buckets: dict[str | None, tuple[float, float]] = {}
        """client → (tokens left, when they were counted). There are as many entries as clients."""

    def take(self, client: str | None) -> None:
        """Take one token. Raises RateLimited, which tells when there is one again."""
        now = self._clock()
        tokens, at = self._buckets.get(client, (self._per_s, now))
        tokens = min(self._per_s, tokens + (now - at) * self._per_s)
        if tokens < 1:
            self._buckets[client] = (tokens, now)
            raise RateLimited((1 - tokens) / self._per_s)
        self._buckets[client] = (tokens - 1, now)

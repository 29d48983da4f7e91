"""Limits how much each client may ask for per second, and tells it (draft-ietf-httpapi-ratelimit-headers)."""

import math
from collections.abc import Callable
from time import monotonic

from gateway.contract.problems import RateLimited


class RateLimiter:
    """One token bucket per client: it fills by `per_s` tokens per second and holds as many. An item costs a token.

    A bulk may cost more than a bucket holds. It is let in while there is any token, and what it costs too much has to
    fill up first, so that over time nobody gets more. Each gateway process counts for itself: the limit of a client is
    `per_s` times their number.
    """

    def __init__(self, per_s: int, clock: Callable[[], float] = monotonic) -> None:
        assert per_s > 0
        self._per_s = float(per_s)
        self._policy = f'"default";q={per_s};w=1'
        self._clock = clock
        self._buckets: dict[str | None, tuple[float, float]] = {}
        """client → (tokens left, when they were counted). There are as many entries as clients."""

    def take(self, client: str | None, items: int = 1) -> None:
        """Take a token for each item. Raises RateLimited, which tells when there is one again."""
        tokens, now = self._count(client)
        if items and tokens < 1:
            self._buckets[client] = (tokens, now)
            raise RateLimited((1 - tokens) / self._per_s)
        self._buckets[client] = (tokens - items, now)

    def headers(self, client: str | None) -> dict[str, str]:
        """Return what a client is told: its rate, what is left of it, and in how many seconds there is more."""
        tokens, _ = self._count(client)
        wait_s = 1 if tokens >= 1 else math.ceil((1 - tokens) / self._per_s)
        return {
            "ratelimit-policy": self._policy,
            "ratelimit": f'"default";r={max(int(tokens), 0)};t={wait_s}',
        }

    def _count(self, client: str | None) -> tuple[float, float]:
        now = self._clock()
        tokens, at = self._buckets.get(client, (self._per_s, now))
        return min(self._per_s, tokens + (now - at) * self._per_s), now

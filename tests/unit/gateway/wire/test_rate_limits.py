"""Each client has its own rate."""

import pytest

from gateway.contract.problems import RateLimited
from gateway.wire.rate_limits import RateLimiter


def test_rate_limit() -> None:
    """Goal: one second's worth at once, then one per 1/rate s, separately per client, with the time of the next."""
    now = [100.0]
    limiter = RateLimiter(4, clock=lambda: now[0])
    for _ in range(4):
        limiter.take("shop")
    with pytest.raises(RateLimited) as refused:
        limiter.take("shop")
    assert refused.value.headers["retry-after"] == "1"
    limiter.take("other")
    now[0] += 0.25
    limiter.take("shop")
    with pytest.raises(RateLimited):
        limiter.take("shop")
    now[0] += 3600
    for _ in range(4):
        limiter.take("shop")
    with pytest.raises(RateLimited):
        limiter.take("shop")

"""Each client has its own rate."""

from contextlib import suppress

import pytest

from gateway.contract.problems import RateLimited
from gateway.wire.rate_limits import RateLimiter


def test_items_cost_a_token_each() -> None:
    """Goal: a bulk that costs more than there is has to be made up for: over ten seconds a client gets its rate."""
    now = [0.0]
    limiter = RateLimiter(100, clock=lambda: now[0])
    taken = 0
    while now[0] < 10:
        with suppress(RateLimited):
            limiter.take("shop", 250)
            taken += 250
        now[0] += 0.01
    assert 0.9 * 1000 <= taken <= 1000 + 100 + 250


def test_a_client_is_told_its_rate() -> None:
    """Goal: the headers of draft-ietf-httpapi-ratelimit-headers: the quota, what is left, when there is more."""
    now = [0.0]
    limiter = RateLimiter(4, clock=lambda: now[0])
    assert limiter.headers("shop") == {
        "ratelimit-policy": '"default";q=4;w=1',
        "ratelimit": '"default";r=4;t=1',
    }
    limiter.take("shop", 11)
    assert limiter.headers("shop")["ratelimit"] == '"default";r=0;t=2'
    now[0] += 2.25
    assert limiter.headers("shop")["ratelimit"] == '"default";r=2;t=1'


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

"""Gateways that share a limit, in a time of the test's own: each second each tells the others, at its own moment."""

from collections.abc import Callable, Sequence
from random import Random

import pytest

from gateway.contract.problems import RateLimited
from gateway.wire.rate_limits import PERIOD_S, STALE_S, RateLimiter, Report, Usage

STEP_S = 0.005
SETTLING_S = 6
SECONDS = 40
Load = float | Callable[[float], float]


class Gateways:
    """Gateways, and the table through which they learn of each other."""

    def __init__(self, limit: float, number: int, seed: int = 1) -> None:
        self.now = 0.0
        self.random = Random(seed)
        self.limiters = [RateLimiter(limit, clock=lambda: self.now) for _ in range(number)]
        self.told: dict[str, tuple[float, dict[str, Usage]]] = {}
        self._next = [self.random.random() for _ in range(number)]

    def exchange(self, number: int) -> None:
        limiter = self.limiters[number]
        self.told[str(number)] = (self.now, limiter.report())
        ages = {name: self.now - at for name, (at, _) in self.told.items() if name != str(number)}
        limiter.learn({name: Report(age, self.told[name][1]) for name, age in ages.items() if age < STALE_S})

    def pass_time(self, *, sharing: bool = True) -> None:
        self.now += STEP_S
        for number, at in enumerate(self._next):
            if self.now >= at:
                self._next[number] += PERIOD_S + self.random.uniform(-0.05, 0.05)
                if sharing:
                    self.exchange(number)

    def take(self, number: int, client: str = "shop", items: int = 1) -> bool:
        try:
            self.limiters[number].take(client, items)
        except RateLimited:
            return False
        return True

    def serve(
        self, loads: Sequence[Load], seconds: int, *, items: int = 1, sharing: bool = True
    ) -> list[int]:
        """Return how many items were let in, each second. A load is in requests per second."""
        found, end = [0] * seconds, self.now + seconds
        start = self.now
        while (second := int(self.now - start)) < seconds and self.now < end:
            for number, load in enumerate(loads):
                expected = (load(self.now) if callable(load) else load) * STEP_S
                for _ in range(int(expected) + (self.random.random() < expected % 1)):
                    found[second] += items * self.take(number, items=items)
            self.pass_time(sharing=sharing)
        return found


@pytest.mark.parametrize(
    ("limit", "loads"),
    [
        (100, [500, 500]),
        (100, [900, 100]),
        (100, [990, 10]),
        (100, [300, 0]),
        (100, [60, 60]),
        (100, [130]),
        (1000, [3000] * 4),
        (1000, [5000, 50, 50, 300]),
        (10, [50, 5]),
        (1, [10, 10, 10, 10]),
    ],
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_limit_is_true_for_all_together(limit: float, loads: list[Load], seed: int) -> None:
    """Goal: however unevenly a client spreads its requests over the gateways, it gets the limit, within 10 %."""
    let_in = Gateways(limit, len(loads), seed).serve(loads, SECONDS)[SETTLING_S:]
    assert 0.9 * limit <= sum(let_in) / len(let_in) <= 1.1 * limit


@pytest.mark.parametrize("loads", [[95, 3], [40, 40, 10], [50, lambda now: 80 * (int(now) % 2)]])
def test_who_is_below_the_limit_is_let_in(loads: list[Load]) -> None:
    """Goal: a client that asks for less than its limit, all gateways together, is hardly ever refused."""
    asked = sum(sum(load(t) for t in range(SECONDS)) / SECONDS if callable(load) else load for load in loads)
    let_in = Gateways(100, len(loads)).serve(loads, SECONDS)[SETTLING_S:]
    assert sum(let_in) / len(let_in) >= 0.95 * asked


def test_bulks_count_for_all() -> None:
    """Goal: bulks at one gateway and single requests at another share the limit; a debt is everybody's."""
    gateways = Gateways(100, 2)
    gateways.serve([0, 10], 3)
    assert gateways.take(0, items=1_000)
    gateways.serve([0, 10], 2)
    assert sum(gateways.serve([0, 200], 5)) <= 5, "ten seconds' worth is owed"
    assert sum(gateways.serve([5, 200], 60, items=20)) <= 60 * 100 * 1.1


def test_clients_share_nothing() -> None:
    """Goal: another client has its own tokens, wherever it comes."""
    gateways = Gateways(100, 2)
    gateways.serve([500, 500], 5)
    assert all(gateways.take(number, "other") for number in (0, 1) for _ in range(20))


def test_a_client_that_moves_on_is_let_in_elsewhere() -> None:
    """Goal: a limit that was all used at one gateway can be used at another, as soon as they have told each other."""
    gateways = Gateways(100, 2)
    gateways.serve([300, 0], 10)
    let_in = gateways.serve([0, 300], 10)
    assert sum(let_in[2:]) >= 0.9 * 100 * 8


def test_what_is_told_is_true() -> None:
    """Goal: as many items as the headers promise are let in; where there are none, there is one after `t` seconds."""
    gateways = Gateways(100, 2)
    promised, kept = 0, []
    for round in range(200):
        gateways.serve([140, 30] if round % 3 else [80, 10], 1)
        number = gateways.random.randrange(2)
        remaining, wait_s = told(gateways.limiters[number])
        if remaining:
            promised += 1
            assert all(gateways.take(number) for _ in range(remaining))
        else:
            assert not gateways.take(number)
            gateways.serve([0, 0], wait_s)
            kept.append(gateways.take(number))
    assert promised > 20
    assert len(kept) > 20
    assert sum(kept) >= 0.8 * len(kept), "the other gateway may have let in more than was foreseen"


def told(limiter: RateLimiter) -> tuple[int, int]:
    """Return what a client is told: items left, and the seconds until there are more."""
    _, left, wait = limiter.headers("shop")["ratelimit"].split(";")
    return int(left.removeprefix("r=")), int(wait.removeprefix("t="))


def test_without_the_database_each_has_its_part() -> None:
    """Goal: while they can't tell each other, the gateways divide the limit equally; afterwards nobody is in debt."""
    gateways = Gateways(100, 4)
    gateways.serve([900, 50, 50, 50], 8)
    for limiter in gateways.limiters:
        limiter.fall_back(4)
    alone = gateways.serve([900, 50, 50, 50], 20, sharing=False)[2:]
    assert 90 <= sum(alone) / len(alone) <= 110
    again = gateways.serve([900, 50, 50, 50], 20)[3:]
    assert 90 <= sum(again) / len(again) <= 110


def test_idle_clients_are_forgotten() -> None:
    """Goal: who asked long ago is neither reported nor kept; who comes again is counted from the start."""
    gateways = Gateways(100, 2)
    gateways.serve([500, 500], 5)
    gateways.serve([0, 0], 30)
    assert [limiter.report() for limiter in gateways.limiters] == [{}, {}]
    let_in = gateways.serve([500, 500], SECONDS)[SETTLING_S:]
    assert 0.9 * 100 <= sum(let_in) / len(let_in) <= 1.1 * 100


def test_a_request_that_was_let_in_may_take_the_rest_of_its_items() -> None:
    """Goal: the first token of a bulk is not what its others are refused for."""
    now = [0.0]
    limiter = RateLimiter(10, clock=lambda: now[0])
    limiter.take("shop", 10)
    now[0] = 0.1
    limiter.take("shop")
    limiter.take("shop", 19, taken=1)
    with pytest.raises(RateLimited) as refused:
        limiter.take("shop", taken=1)
    assert refused.value.headers["retry-after"] == "2"

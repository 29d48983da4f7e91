"""The plan of faults comes from the seed alone and reaches every kind of process and line."""

from collections import Counter
from itertools import pairwise

import pytest

from lab.chaos.database import TABLES
from lab.chaos.lines import NAMES
from lab.chaos.schedule import (
    BANK_TROUBLES,
    CUTS,
    DATABASE_TROUBLES,
    HANGS,
    KINDS,
    NONSENSE_LINES,
    SPARED_S,
    TARGETS,
    plan,
)


@pytest.mark.parametrize("seed", range(5))
def test_the_same_seed_makes_the_same_plan(seed: int) -> None:
    """A seed replays; a longer run begins like a shorter one; another seed is another plan."""
    faults = plan(seed, 600)
    assert plan(seed, 600) == faults
    assert plan(seed, 60) == [fault for fault in faults if fault.at_s < 58]
    assert plan(seed + 1, 600) != faults


def test_no_faults() -> None:
    """A run without faults is one of load alone."""
    assert plan(1, 600, per_minute=0) == []


@pytest.mark.parametrize("seed", range(20))
def test_ten_minutes_strike_everything(seed: int) -> None:
    """60 kills and more over all kinds, every kind frozen and restarted, every line cut, every cut made."""
    faults = plan(seed, 600)
    kills = Counter(fault.target for fault in faults if fault.action == "kill")
    assert kills.total() >= 60
    assert kills.keys() == set(TARGETS)
    assert min(kills.values()) >= 5
    for action, targets in (
        ("freeze", TARGETS),
        ("restart", KINDS),
        ("cut", NAMES),
        ("bank", (*BANK_TROUBLES, *NONSENSE_LINES)),
        ("hang", HANGS),
        ("hold", TABLES),
        ("database", DATABASE_TROUBLES),
    ):
        assert {fault.target for fault in faults if fault.action == action} == set(targets)
    assert len({fault.target for fault in faults if fault.action == "poison"}) >= 10
    assert {fault.how for fault in faults if fault.action == "cut"} == set(CUTS)


@pytest.mark.parametrize("seed", range(20))
def test_a_short_run_ends_every_kind(seed: int) -> None:
    """40 seconds at thrice the usual pace are enough for each kind to be killed or restarted once."""
    faults = plan(seed, 40, per_minute=78)
    assert {fault.target for fault in faults if fault.action in ("kill", "restart")} == set(TARGETS)


@pytest.mark.parametrize("seed", range(20))
def test_what_starts_slowly_is_spared_for_a_while(seed: int) -> None:
    """RabbitMQ is not struck down again before it had the time to come back."""
    for target, spared_s in SPARED_S.items():
        struck = [fault.at_s for fault in plan(seed, 600) if (fault.action, fault.target) == ("kill", target)]
        assert all(later - sooner >= spared_s for sooner, later in pairwise(struck))

"""The benchmark's figures: each round's ratio first, then their median, held against a target."""

import math

from lab.bench.load import Sample
from lab.bench.results import TARGETS, Results, Target
from lab.bench.table import table

CHARGES = "charges/s ÷ pgbench, one charge a commit"
P99 = "charge p99 at half the peak ÷ pgbench's mean latency"


def results(rounds: list[tuple[float, float]]) -> Results:
    """Results whose rounds have these charges per second and these pgbench transactions per second."""
    made = Results({})
    for charges, pgbench in rounds:
        made.add("charges", Sample(charges))
        made.add("pgbench", Sample(pgbench, mean_ms=64_000 / pgbench))
    return made


def test_a_ratio_is_of_one_round() -> None:
    """Goal: minutes in which the machine was ten times slower say the same; of medians the ratio would be 11."""
    assert results([(200, 100), (2_000, 1_000), (3_000, 150)]).ratio("charges", "pgbench") == 2


def test_a_round_that_was_cut_off_has_no_ratio() -> None:
    """Goal: what has no yardstick of its own round is left out, and nothing measured is no figure."""
    made = results([(200, 100)])
    made.add("charges", Sample(1))
    assert made.ratio("charges", "pgbench") == 2
    assert made.ratio("charges", "noop") is None
    assert made.median("noop") is None


def test_targets_are_bounds() -> None:
    """Goal: rates must be at least, latencies and memory at most; the bound itself is reached."""
    at_least, at_most = Target("", 1.5, lambda _: None), Target("", 1.5, lambda _: None, at_most=True)
    for value, least, most in ((1.4, False, True), (1.5, True, True), (1.6, True, False)):
        assert at_least.reached(value) is least
        assert at_most.reached(value) is most


def test_what_is_said_of_each_target() -> None:
    """Goal: table and JSON tell of every target whether it was reached, missed or not measured."""
    made = results([(200, 100), (130, 100), (140, 100)])
    made.add("open_loop", Sample(70, p99_ms=1_600))
    told = {row["figure"]: row for row in made.as_json()["ratios"]}
    assert list(told) == [target.figure for target in TARGETS]
    assert (told[CHARGES]["value"], told[CHARGES]["reached"]) == (1.4, False)
    assert math.isclose(told[P99]["value"], 2.5)
    assert (told[P99]["at_most"], told[P99]["reached"]) == (1.5, False)
    assert told["balance reads/s ÷ noop/s"]["reached"] is None
    lines = {
        target.figure: line
        for target in TARGETS
        for line in table(made).splitlines()
        if target.figure in line
    }
    assert lines[CHARGES].endswith("✗")
    assert lines["balance reads/s ÷ noop/s"].endswith("not measured")

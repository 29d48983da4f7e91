"""A guard against slowness, in ratios: on a shared machine the ratio of two figures is meaningful, a time alone is not.

The bounds are two thirds of what `wbs bench` shows on a quiet machine (docs/PERFORMANCE.md). They are asked of the
median over rounds in which nobody else used the processors; where there are no such rounds, of all rounds, less is.
"""

import shutil
import time
from collections.abc import Iterator

import pytest

from lab.bench.load import Sample
from lab.bench.results import Results
from lab.bench.scenarios import Bench, Plan
from lab.bench.stage import Stage
from ops.local.progress import Progress
from tests.conftest import unavailable

SECONDS = 2.0
ROUNDS_MIN = 3
BUDGET_S = 300.0

BOUNDS = {
    # scenario, yardstick: at least on a quiet machine, at least on any
    ("charges", "noop"): (0.24, 0.20),
    ("charges", "pgbench"): (1.10, 0.35),  # 64 backends get more of a machine that others use too
    ("hot", "charges"): (0.79, 0.60),
    ("bulk", "charges"): (2.10, 1.20),
    ("balance", "noop"): (0.54, 0.40),
    ("mix", "charges"): (0.33, 0.20),
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Gateways, database and yardsticks; no RabbitMQ, which no ratio here needs."""
    if shutil.which("wrk") is None:
        unavailable("no wrk: apt-get install wrk")
    with Stage(tmp_path_factory.mktemp("bench"), Progress(), WBS_BROKER="memory") as stage:
        stage.start()
        yield stage


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ratios_have_not_fallen(stage: Stage) -> None:
    """Goal: a change that makes charges, bulk, reads or a hot wallet much slower than they were is seen."""
    results = Results({})
    bench = Bench(stage, Plan(runs=1, seconds=SECONDS, groups=("peaks",)), results, Progress())
    bench.warm_up()
    deadline = time.monotonic() + BUDGET_S
    rounds = 0
    fallen: list[str] = []
    while rounds < ROUNDS_MIN or (fallen and time.monotonic() < deadline):
        bench.round(("peaks",))
        rounds += 1
        fallen = judge(results)
    assert not fallen, f"{'; '.join(fallen)} (after {rounds} rounds)"
    report = stage.audit()
    assert report.ok, report.findings.violations[:3]


def judge(results: Results) -> list[str]:
    """Return the ratios below their bounds, over the quiet rounds if there are enough, otherwise over all rounds."""
    quiet = results.quiet()
    strict = quiet.rounds() >= ROUNDS_MIN
    judged = quiet if strict else results
    fallen = []
    for (scenario, yardstick), bounds in BOUNDS.items():
        bound = bounds[0] if strict else bounds[1]
        ratio = judged.ratio(scenario, yardstick) or 0.0
        if ratio < bound:
            fallen.append(f"{scenario} ÷ {yardstick} is {ratio:.2f}, at least {bound} wanted")
    return fallen


def sampled(charges: float, noop: float, others_cores: float) -> dict[str, Sample]:
    """Return one round in which nothing but charges and the yardstick of HTTP differs from what it should be."""
    good = {"pgbench": 5_000.0, "hot": 10_000.0, "bulk": 30_000.0, "balance": 20_000.0, "mix": 5_000.0}
    told = {"others_cores": others_cores}
    samples = {name: Sample(per_s, detail=told) for name, per_s in good.items()}
    return samples | {"charges": Sample(charges, detail=told), "noop": Sample(noop, detail=told)}


@pytest.mark.parametrize(
    ("rounds", "fallen"),
    [
        ([(10_000.0, 0.0)] * 3, 0),
        ([(4_000.0, 0.0)] * 3, 2),  # slow, and nobody else is to blame: ÷ pgbench, ÷ noop
        ([(4_000.0, 1.0)] * 3, 1),  # a busy machine: ÷ noop is too low even for that
        ([(6_000.0, 1.0)] * 9 + [(10_000.0, 0.0)] * 3, 0),  # disturbed rounds don't count
        ([(10_000.0, 1.0)] * 9 + [(4_000.0, 0.0)] * 3, 2),  # nor do they save anything
        ([(10_000.0, 0.0), (10_000.0, 0.0), (2_000.0, 0.0)], 0),  # nor does one that is out of the ordinary
    ],
)
def test_the_judgement(rounds: list[tuple[float, float]], fallen: int) -> None:
    """Goal: two thirds of what was measured is asked of a quiet machine; a busy one trips nothing by its noise."""
    results = Results({})
    for charges, others_cores in rounds:
        for name, sample in sampled(charges, 25_000.0, others_cores).items():
            results.add(name, sample)
    assert len(judge(results)) == fallen

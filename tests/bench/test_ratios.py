"""A guard against slowness, in ratios: times of a shared machine say nothing, what two figures are to each other does.

The bounds are far below what `wbs bench` shows (docs/PERFORMANCE.md): only a clear fall trips them.
"""

import shutil
from collections.abc import Iterator

import pytest

from lab.bench.results import Results
from lab.bench.scenarios import Bench, Plan
from lab.bench.stage import Stage
from ops.progress import Progress
from tests.conftest import unavailable

SECONDS = 2.0
ROUNDS_MIN, ROUNDS_MAX = 2, 6

BOUNDS = {
    # scenario, yardstick: at least
    ("charges", "noop"): 0.20,
    ("charges", "pgbench"): 0.35,  # 64 backends get more of a machine that others use too
    ("hot", "charges"): 0.60,
    ("bulk", "charges"): 1.20,
    ("balance", "noop"): 0.40,
    ("mix", "charges"): 0.20,
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
@pytest.mark.timeout(420)
def test_ratios_have_not_fallen(stage: Stage) -> None:
    """Goal: a change that makes charges, bulk, reads or a hot wallet much slower than they were is seen."""
    results = Results({})
    bench = Bench(stage, Plan(runs=1, seconds=SECONDS, groups=("peaks",)), results, Progress())
    bench.warm_up()
    fallen: list[str] = []
    for number in range(1, ROUNDS_MAX + 1):
        bench.round(("peaks",))
        fallen = [
            f"{scenario} ÷ {yardstick} is {ratio:.2f}, at least {bound} wanted"
            for (scenario, yardstick), bound in BOUNDS.items()
            if (ratio := results.ratio(scenario, yardstick) or 0) < bound
        ]
        # A disturbed minute is measured again; a real fall stays.
        if number >= ROUNDS_MIN and not fallen:
            break
    assert not fallen, "; ".join(fallen)
    report = stage.audit()
    assert report.ok, report.findings.violations[:3]

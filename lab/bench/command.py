"""`wbs bench`: measures the service on its own stack, against yardsticks of the same minutes.

Exit codes: 0 measured (the table shows which targets are reached), 1 no figures: a run was invalid, the stack failed,
or the audit found violations afterwards.
"""

import argparse
import json
import os
from pathlib import Path

from lab.bench import load
from lab.bench.results import Results
from lab.bench.scenarios import GROUPS, Bench, Plan
from lab.bench.stage import Stage
from lab.bench.table import table
from ops.errors import OpsError
from ops.local.progress import Progress
from ops.state import StateDir

_MILLION = 1_000_000


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wbs bench` to the command line."""
    parser = subparsers.add_parser("bench", help="measure the service on its own stack", description=__doc__)
    parser.add_argument("--json", metavar="FILE", type=Path, help="write everything that was measured there")
    parser.add_argument("--plots", metavar="DIR", type=Path, help="draw the plots there (PNG)")
    parser.add_argument("--quick", action="store_true", help="under three minutes: one short run, no history")
    parser.add_argument("--runs", metavar="N", type=int, help="runs of each scenario (default 3, quick 1)")
    parser.add_argument("--seconds", metavar="S", type=float, help="length of one run (default 6, quick 3)")
    parser.add_argument(
        "--scenario",
        action="append",
        choices=GROUPS,
        help="only this group; may be given more than once (default: all)",
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print the table, write the files."""
    plan = _plan(args)
    progress = Progress.to_terminal()
    load.require_tools(progress)
    if args.plots is not None:
        from lab.bench import plots  # a development tool: fail before the measuring, not after
    results = Results({"runs": plan.runs, "seconds": plan.seconds, "groups": list(plan.groups), **_FIXED})
    # Next to the running stack's own state, so that both may run; deleted afterwards.
    folder = StateDir.from_env(os.environ).root / "bench"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with Stage(folder, progress) as stage:
        if "start" in plan.groups:
            results.start = stage.time_starts()
        stage.start()
        results.server = stage.server_facts()
        Bench(stage, plan, results, progress).run()
        progress.say("Auditing the books")
        report = stage.audit()
    results.audit = json.loads(report.as_json())
    if not report.ok:
        raise OpsError(f"The books are wrong, so this run has no figures: {report.findings.violations[:3]}")
    print(table(results))
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(results.as_json(), indent=1) + "\n", encoding="utf-8")
    if args.plots is not None:
        for path in plots.draw(results, args.plots):
            progress.say(f"Drawn: {path}")
    return 0


_FIXED = {"connections": load.CONNECTIONS, "wallets": load.USERS, "gateways": 2, "actor_threads": 50}


def _plan(args: argparse.Namespace) -> Plan:
    runs = args.runs or (1 if args.quick else 3)
    seconds = args.seconds or (3.0 if args.quick else 6.0)
    if runs < 1 or not 1 <= seconds <= 60:
        raise OpsError("--runs must be at least 1, --seconds from 1 to 60.")
    groups = tuple(
        args.scenario or [group for group in GROUPS if not (args.quick and group in ("history", "archive"))]
    )
    history = (("100k", 100_000),) if args.quick else (("1m", _MILLION), ("10m", 10 * _MILLION))
    return Plan(
        runs,
        seconds,
        groups,
        history,
        archive=2_000_000 if args.quick else 20_000_000,
        queue_full=10_000 if args.quick else 100_000,
        slow_queue=750 if args.quick else 2_500,
    )

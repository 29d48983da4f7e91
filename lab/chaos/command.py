"""The command line of `wbs chaos`.

Exit codes: 0 no violations, 1 violations found or the run failed, 2 wrong usage.
"""

import argparse
import json
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import msgspec

from lab.chaos.campaign import Order, run_campaign
from lab.chaos.checker import check
from lab.chaos.report import Report, as_document
from lab.chaos.schedule import FAULTS_PER_MINUTE
from ops.errors import OpsError
from ops.local.progress import Progress
from ops.state import StateDir

VIOLATIONS_SHOWN = 20
RATE_PER_S = 160.0
DESCRIPTION = """\
Starts a stack of its own, loads it with random operations on many wallets and one hot one, and meanwhile
kills, freezes and restarts every kind of process, cuts the lines between them, locks tables, poisons the queue, sets
the database's clock back. Then it heals everything,
sends every request again, waits until all withdrawals have ended, and checks the whole history: independently
of the service's own code, against its API and the bank's books, and with `wbs audit`. The same seed makes the
same faults at the same times. See docs/RELIABILITY.md."""


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `wbs chaos`."""
    parser.add_argument("--seed", type=int, help="decides faults and operations (default: a random one)")
    parser.add_argument("--seconds", type=_seconds, default=60.0, metavar="S", help="of load and faults (60)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    parser.add_argument(
        "--rate", type=float, default=RATE_PER_S, metavar="N", help=f"operations a second ({RATE_PER_S:.0f})"
    )
    parser.add_argument(
        "--faults-per-minute",
        type=_frequency,
        default=FAULTS_PER_MINUTE,
        metavar="N",
        help=f"0 for none ({FAULTS_PER_MINUTE:g})",
    )
    parser.add_argument(
        "--failover",
        choices=("killed", "swallowed"),
        help="use two PostgreSQL servers, and lose the primary in the middle of the run: its processes, or "
        "every packet to it as well",
    )
    parser.add_argument("--folder", type=Path, metavar="DIR", help="work there, and keep history and logs")
    parser.add_argument("--check", type=Path, metavar="FILE", help="only check the history of an earlier run")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 5 <= seconds <= 7200:
        raise argparse.ArgumentTypeError("must be between 5 and 7200")
    return seconds


def _frequency(text: str) -> float:
    per_minute = float(text)
    if not 0 <= per_minute <= 600:
        raise argparse.ArgumentTypeError("must be between 0 and 600")
    return per_minute


def run(args: argparse.Namespace) -> int:
    """Run the command with these arguments; return its exit code."""
    if args.check is not None:
        return _check(args.check)
    seed = secrets.randbelow(1_000_000) if args.seed is None else args.seed
    folder = Path(tempfile.mkdtemp(prefix="wbs-chaos-")) if args.folder is None else args.folder
    if (folder / "stack").exists():
        raise OpsError(f"{folder} holds the data of another run: delete it, or name another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, _interrupt)  # end in the same way as after Ctrl-C: nothing is left behind
    order = Order(seed, args.seconds, args.rate, args.faults_per_minute, folder, failover=args.failover)
    good = False
    try:
        report = run_campaign(order, Progress.to_terminal())
        good = report.findings.total == 0
        if args.json is not None:
            args.json.write_text(json.dumps(as_document(report), indent=1) + "\n", encoding="utf-8")
        print(_text(report))
    finally:
        kept = _clear(folder, keep=args.folder is not None or not good)
        if kept:
            print(f"History and logs: {folder}", file=sys.stderr)
            print(
                f"The same faults again: wbs chaos --seed {seed} --seconds {args.seconds:g}", file=sys.stderr
            )
    return 0 if good else 1


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _clear(folder: Path, *, keep: bool) -> bool:
    """Delete the stack's data; with `keep`, keep history and logs. Return True if something is kept."""
    state = StateDir(folder / "stack")
    if keep and state.log.exists():
        shutil.rmtree(folder / "log", ignore_errors=True)
        shutil.copytree(state.log, folder / "log")
    state.delete()
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
    return keep


def _check(path: Path) -> int:
    try:
        findings = check(path)
    except (OSError, msgspec.MsgspecError) as error:
        raise OpsError(f"{path} is not a history of a chaos run: {error}.") from error
    for violation in findings.violations:
        print(violation)
    print(f"{findings.total} violations in {findings.checked['calls']:,} calls")
    return 1 if findings.total else 0


def _text(report: Report) -> str:
    """Return the report for people."""
    findings = report.findings
    lines = [
        f"seed {report.seed}, {report.seconds:.0f} s, {report.operations.total():,} operations "
        f"({report.operations_per_s:.0f}/s), {report.faults.total()} faults, {report.kills} kills",
        "operations: " + _counts(report.operations),
        "answers:    " + _counts(report.answers),
    ]
    actions = sorted({action for action, _ in report.faults})
    for action in actions:
        counts = {target: count for (one, target), count in report.faults.items() if one == action}
        lines.append(f"{action + ':':11} " + _counts(counts))
    lines += [
        f"slowest comeback of a killed process {report.slowest_comeback_s:.1f} s; after healing: whole after "
        f"{report.healthy_s:.1f} s, no withdrawal open after {report.settled_s:.1f} s",
        "checked:    " + _counts(findings.checked),
    ]
    for rule, count in sorted(findings.counts.items()):
        lines.append(f"  ✗ {rule}: {count}")
    lines += [f"    {violation}" for violation in findings.violations[:VIOLATIONS_SHOWN]]
    lines.append(
        f"{findings.total} violations" if findings.total else "0 violations: no money lost, none paid twice"
    )
    return "\n".join(lines)


def _counts(counts: "dict[str, int]") -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))

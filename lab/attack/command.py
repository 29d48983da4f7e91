"""`wbs attack`: hostile requests against a stack of its own, beside a client that only wants to be served.

Waves: bytes that are no HTTP, hostile JSON, bulks as long as may be, heads that a proxy could read in another way,
chunks, targets, other people's keys and wallets, forged callbacks, thousands of connections that send next to nothing,
hundreds that read nothing, and a bank whose replies nobody can rely on. The table says which statuses came back, and
what share the client had of what it has beside the same attacker at a server that only refuses, turn by turn.
The same seed sends the same requests.

Exit codes: 0 nothing wrong; 1 a request was answered 500, not at all, or as it must not be, a process grew beyond
300 MB or ended, or the books are wrong.
"""

import argparse
import json
import os
import secrets
from dataclasses import asdict
from pathlib import Path

from lab.attack.campaign import MEMORY_MB_MAX, SHARE_MIN, Report, attack
from ops.local.progress import Progress
from ops.state import StateDir

SHOTS, SLOW = 100_000, 10_000
QUICK_SHOTS, QUICK_SLOW = 3_500, 500
FAULTS_SHOWN = 20


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wbs attack` to the command line."""
    parser = subparsers.add_parser(
        "attack",
        help="attack a stack of its own",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, help="decides the requests (default: a random one)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SHOTS:,} requests instead of {SHOTS:,}")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the report there")


def run(args: argparse.Namespace) -> int:
    """Attack, print the table; return 1 if anything is wrong."""
    seed = secrets.randbelow(1_000_000) if args.seed is None else args.seed
    shots, slow = (QUICK_SHOTS, QUICK_SLOW) if args.quick else (SHOTS, SLOW)
    folder = StateDir.from_env(os.environ).root / "attack"
    folder.parent.mkdir(parents=True, exist_ok=True)
    report = attack(folder, seed, shots, slow, Progress.to_terminal())
    print(table(report))
    if args.json is not None:
        document = {**asdict(report), "faults": report.faults()}
        args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 1 if report.faults() else 0


def table(report: Report) -> str:
    """Return the report as text."""
    lines = [f"seed {report.seed}", f"{'wave':<12}{'sent':>9}{'per s':>8}{'others':>8}  answers"]
    for wave in report.waves:
        answers = ", ".join(f"{status}: {count:,}" for status, count in sorted(wave.statuses.items()))
        per_s = wave.shots / wave.seconds if wave.seconds else 0
        share = "" if wave.share is None else f"{wave.share:.2f}"
        lines.append(f"{wave.name:<12}{wave.shots:>9,}{per_s:>8,.0f}{share:>8}  {answers}")
    lines.append(
        "others: the charges of a client beside the attack, of those beside an attack on a server that only refuses "
        f"(≥ {SHARE_MIN})"
    )
    memory = ", ".join(f"{kind} {mb:.0f}" for kind, mb in sorted(report.memory_mb.items()))
    lines.append(f"memory, MB, at most ({MEMORY_MB_MAX:.0f} are allowed): {memory}")
    lines.append(f"books: {'right' if report.books_ok else 'WRONG'}")
    faults = report.faults()
    lines += [f"FAULT {fault}" for fault in faults[:FAULTS_SHOWN]]
    if len(faults) > FAULTS_SHOWN:
        lines.append(f"… and {len(faults) - FAULTS_SHOWN} more")
    return "\n".join(lines if faults else [*lines, "Nothing wrong."])

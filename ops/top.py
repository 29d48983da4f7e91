"""`wbs top`: what is going on, every two seconds until Ctrl-C: rates, the bank, the processes.

Rates are those of the last full minute, over all processes. With --once (or --json) it looks once. It asks the
database, so it works for any stack; `wbs ps` asks this machine.

Exit codes: 0 done, 2 nothing is running here, or the database is away.
"""

import argparse
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from db.operator_reads import Activity, Overview, overview
from ops.reading import Asked, add_json
from ops.status import running
from ops.tables import ago, table

INTERVAL_S = 2.0
_CLEAR = "\x1b[H\x1b[2J"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wbs top` to the command line."""
    parser = subparsers.add_parser(
        "top",
        help="rates and processes, again and again",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--once", action="store_true", help="look once")
    parser.add_argument(
        "--interval", type=float, default=INTERVAL_S, metavar="S", help="seconds between looks"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Look until Ctrl-C. Raises TryLater."""
    asked = Asked()
    while True:
        seen = asked.run(overview)
        if args.json:
            asked.print_json({"per_second": rates(seen.activity), "processes": processes(seen)})
            return 0
        if sys.stdout.isatty() and not args.once:
            print(_CLEAR, end="")
        print(_text(seen, asked), flush=True)
        if args.once:
            return 0
        time.sleep(max(0.5, args.interval))


def rates(activity: list[Activity], now: datetime | None = None) -> list[dict[str, Any]]:
    """Return how often per second each thing was done within the last full minute, and its mean time."""
    minute = (now or datetime.now(UTC)).replace(second=0, microsecond=0) - timedelta(minutes=1)
    return [
        {
            "what": one.what,
            "per_second": round(one.number / 60, 2),
            "mean_ms": round(1000 * one.seconds / one.number, 1) if one.seconds and one.number else None,
        }
        for one in sorted(activity, key=lambda one: one.what)
        if one.minute == minute
    ]


def processes(seen: Overview) -> list[dict[str, Any]]:
    """Return the processes that report, with what they say of themselves."""
    found = []
    for beat in running(seen):
        facts = beat.detail.get("process") or {}
        found.append({"kind": beat.kind, "instance": beat.instance, "age_s": round(beat.age_s, 1), **facts})
    return found


def _text(seen: Overview, asked: Asked) -> str:
    now = datetime.now(UTC)
    done = [
        (one["what"], f"{one['per_second']:,.2f}", "" if one["mean_ms"] is None else f"{one['mean_ms']:,.1f}")
        for one in rates(seen.activity, now)
    ]
    under_way = [
        (one.status, f"{one.withdrawals:,}", asked.spelled(one.amount, one.currency)) for one in seen.open
    ]
    reports = [
        (
            one["kind"],
            one["instance"],
            str(one.get("version", "")),
            f"{one.get('memory_mb', 0):,.0f} MB",
            f"{one.get('lag_ms', 0)} ms",
            _up(one, now),
            ago(one["age_s"]),
        )
        for one in processes(seen)
    ]
    heads = ("KIND", "PROCESS", "VERSION", "MEMORY", "LAG", "UP", "REPORTED")
    parts = [
        f"{now:%Y-%m-%d %H:%M:%S}Z  payouts {seen.stack.standing}  outbox {seen.outbox.messages}",
        table(("LAST MINUTE", "PER SECOND", "MEAN MS"), done, right=("PER SECOND", "MEAN MS"))
        or "Nothing was done within the last full minute.",
        table(("OPEN", "NUMBER", "AMOUNT"), under_way, right=("NUMBER", "AMOUNT")),
        table(heads, reports, right=("MEMORY", "LAG", "UP", "REPORTED")),
    ]
    return "\n\n".join(part for part in parts if part)


def _up(facts: dict[str, Any], now: datetime) -> str:
    started_at = facts.get("started_at")
    return ago((now - datetime.fromisoformat(started_at)).total_seconds()) if started_at else ""

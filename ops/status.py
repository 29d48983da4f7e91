"""`wbs status`: how everything stands: payouts, processes, what is under way, what requires attention and how much.

Exit codes: 0 all is well, 1 something is not (the lines that begin with !), 2 nothing is running here, or the database
is away.
"""

import argparse
from datetime import UTC, datetime
from typing import Any

from db.heartbeats import Heartbeat
from db.operator_reads import Oldest, OpenSum, Overview, overview
from ops.reading import Asked, add_json, totals, when
from ops.tables import ago, table

NEEDED = ("relay", "actors", "reconciler", "courier")
SILENT_S_MAX = 20.0
"""A process that has not reported for so long is gone or frozen, or its database was away."""
LATE_S = 60.0
ATTENTION = "requires_attention"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wbs status` to the command line."""
    parser = subparsers.add_parser(
        "status",
        help="how everything stands",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print how everything stands. Raises TryLater."""
    asked = Asked()
    seen = asked.run(overview)
    wrong = what_is_wrong(seen)
    if args.json:
        asked.print_json(document(seen, wrong))
    else:
        print(_text(seen, wrong, asked))
    return 1 if wrong else 0


def running(seen: Overview) -> list[Heartbeat]:
    """Return the reports of processes that run, by kind."""
    fresh = [beat for beat in seen.heartbeats if beat.age_s < SILENT_S_MAX and not beat.detail.get("stopped")]
    return sorted(fresh, key=lambda beat: (beat.kind, beat.instance))


def what_is_wrong(seen: Overview) -> list[str]:
    """Return in words what a person must look at."""
    wrong = [] if seen.stack.allowed else [f"payouts are {seen.stack.standing}"]
    kinds = {beat.kind for beat in running(seen)}
    wrong += [f"no {kind} reports" for kind in NEEDED if kind not in kinds]
    if number := sum(one.withdrawals for one in seen.open if one.status == ATTENTION):
        wrong.append(f"{number} withdrawals require attention: `wbs withdrawals --status {ATTENTION}`")
    late = max((one for one in seen.oldest if not one.with_the_bank), key=_age_s, default=None)
    if late is not None and seen.stack.allowed and _age_s(late) > LATE_S:
        wrong.append(f"withdrawal {late.id} has waited for {ago(_age_s(late))}: `wbs show {late.id}`")
    if seen.outbox.age_s > LATE_S:
        held_back = any(beat.detail.get("queue") == "full" for beat in running(seen) if beat.kind == "relay")
        why = "for room in a full queue: look at the actors and the bank" if held_back else "for a relay"
        wrong.append(f"{seen.outbox.messages} messages wait {why}; the oldest for {ago(seen.outbox.age_s)}")
    return wrong


def _age_s(oldest: Oldest) -> float:
    return (datetime.now(UTC) - oldest.created_at).total_seconds()


def document(seen: Overview, wrong: list[str]) -> dict[str, Any]:
    """Return the same as JSON."""
    held: dict[str, int] = {}
    for one in seen.open:
        held[one.currency] = held.get(one.currency, 0) + one.amount
    return {
        "ok": not wrong,
        "wrong": wrong,
        "payouts": seen.stack.standing,
        "open": [one._asdict() for one in seen.open],
        "held": held,
        "sums_are_complete": seen.is_complete,
        "attention": [one._asdict() for one in seen.attention],
        "outbox": seen.outbox._asdict(),
        "processes": [
            {"kind": beat.kind, "instance": beat.instance, "age_s": round(beat.age_s, 1), **beat.detail}
            for beat in running(seen)
        ],
        "last_actions": [action._asdict() for action in seen.actions[:10]],
    }


def _text(seen: Overview, wrong: list[str], asked: Asked) -> str:
    lines = [f"! {one}" for one in wrong] or ["All is well."]
    counts: dict[str, int] = {}
    for beat in running(seen):
        counts[beat.kind] = counts.get(beat.kind, 0) + 1
    lines += [
        "",
        f"payouts    {seen.stack.standing}",
        "processes  "
        + (", ".join(f"{number} {kind}" for kind, number in sorted(counts.items())) or "none report"),
        f"outbox     {seen.outbox.messages} messages" + _oldest(seen.outbox.age_s, seen.outbox.messages),
        f"held       {_held(seen.open, asked) or 'nothing'}" + ("" if seen.is_complete else " and more"),
    ]
    if seen.open:
        rows = [
            (one.status, f"{one.withdrawals:,}", asked.spelled(one.amount, one.currency), when(one.oldest_at))
            for one in seen.open
        ]
        lines += [
            "",
            table(("OPEN WITHDRAWALS", "NUMBER", "AMOUNT", "OLDEST"), rows, right=("NUMBER", "AMOUNT")),
        ]
    if seen.attention:
        why = [
            (
                one.failure_code or "?",
                f"{one.withdrawals:,}",
                asked.spelled(one.amount, one.currency),
                when(one.since_first),
            )
            for one in seen.attention
        ]
        lines += [
            "",
            table(("REQUIRE ATTENTION", "NUMBER", "AMOUNT", "SINCE"), why, right=("NUMBER", "AMOUNT")),
        ]
    if seen.actions:
        did = [
            (when(a.at), a.made_by, a.action, str(a.withdrawal_id or a.withdrawals)) for a in seen.actions[:5]
        ]
        lines += ["", table(("OPERATORS", "WHO", "DID", "TO"), did)]
    return "\n".join(lines)


def _oldest(age_s: float, number: int) -> str:
    return f", the oldest {ago(age_s)} old" if number else ""


def _held(sums: list[OpenSum], asked: Asked) -> str:
    return totals(((one.currency, one.amount) for one in sums), asked.spelled)

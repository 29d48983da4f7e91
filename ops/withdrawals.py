"""`wbs withdrawals`: withdrawals by status, age, user, reason or amount, with totals by currency.

  wbs withdrawals                                   those that have not ended, the oldest first
  wbs withdrawals --status requires_attention --older-than 2h
  wbs withdrawals --user ID --limit 50              all of a user's, newest first

Exit codes: 0 done (also if there are none), 2 wrong usage, nothing is running here, or the database is away.
"""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from db.connections import Reader
from db.lists import Span
from db.operator_search import OPEN, Filters, search
from db.reads import WithdrawalView
from ops.arguments import whole_number
from ops.errors import WrongUsage
from ops.logs import age
from ops.reading import Asked, add_json, totals, when
from ops.tables import table
from wallet.ids import first_id_of
from wallet.money import AMOUNT_MAX
from wallet.withdrawal import Status

LIMIT_DEFAULT, LIMIT_MAX = 100, 10_000
_PAGE = 200


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wbs withdrawals` to the command line."""
    parser = subparsers.add_parser(
        "withdrawals",
        help="withdrawals by status, age, user, reason or amount",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    statuses = [str(status) for status in Status]
    parser.add_argument("--status", action="append", choices=statuses, help="may be given several times")
    parser.add_argument("--older-than", type=age, metavar="2h", help="made longer ago than s, m, h or d")
    parser.add_argument("--user", metavar="ID", help="of this user")
    parser.add_argument("--currency", metavar="CODE", help="in this currency")
    parser.add_argument("--amount", type=_amount, metavar="N", help="of exactly so many minor units")
    parser.add_argument("--reason", metavar="CODE", help="that failed, or require attention, for this reason")
    parser.add_argument(
        "--limit", type=int, default=LIMIT_DEFAULT, metavar="N", help="at most so many (default 100)"
    )
    add_json(parser)


def _amount(text: str) -> int:
    return whole_number(text, 1, AMOUNT_MAX)


def run(args: argparse.Namespace) -> int:
    """Print what was asked for. Raises TryLater, WrongUsage."""
    if not 1 <= args.limit <= LIMIT_MAX:
        raise WrongUsage(f"--limit must be 1 to {LIMIT_MAX}.")
    asked = Asked()
    statuses = tuple(args.status or (() if args.user else OPEN))
    oldest_first = args.user is None and bool(statuses) and Status.COMPLETED not in statuses
    filters = Filters(statuses, args.user, args.currency, args.amount, args.reason, oldest_first)
    made_before = None if args.older_than is None else datetime.now(UTC) - args.older_than
    found, more = asked.run(lambda reader: _found(reader, filters, args.limit, made_before))
    if args.json:
        sums: dict[str, int] = {}
        for view in found:
            sums[view.currency] = sums.get(view.currency, 0) + view.amount
        asked.print_json(
            {"withdrawals": [plain_withdrawal(view) for view in found], "totals": sums, "more": more}
        )
        return 0
    if not found:
        print("No such withdrawals.")
        return 0
    print(text(found, asked))
    total = totals(((view.currency, view.amount) for view in found), asked.spelled)
    print(f"\n{len(found):,} withdrawals, {total}{'; there are more: --limit' if more else ''}")
    return 0


async def _found(
    reader: Reader, filters: Filters, limit: int, made_before: datetime | None
) -> tuple[list[WithdrawalView], bool]:
    """Return the withdrawals, and whether there are more. Identifiers ascend with the time at which they were made."""
    found: list[WithdrawalView] = []
    span = Span() if made_before is None else Span(end=first_id_of(made_before))
    while True:
        page = await search(reader, filters, min(_PAGE, limit + 1), span)
        found += page.items
        if len(found) > limit or page.next is None:
            return found[:limit], len(found) > limit
        span = span._replace(first=page.next) if filters.oldest_first else span._replace(end=page.next)


def text(found: Sequence[WithdrawalView], asked: Asked) -> str:
    """Return withdrawals as a table."""
    rows = [
        (
            str(view.id),
            view.status,
            asked.spelled(view.amount, view.currency),
            view.user_id,
            when(view.created_at),
            str(view.attempts),
            f"{view.failure_code}: {view.failure_reason}" if view.failure_code else "",
        )
        for view in found
    ]
    heads = ("ID", "STATUS", "AMOUNT", "USER", "MADE", "TRIES", "WHY")
    return table(heads, rows, right=("AMOUNT", "TRIES"))


def plain_withdrawal(view: WithdrawalView) -> dict[str, Any]:
    """Return a withdrawal as JSON has it, without its history."""
    return {
        **{name: value for name, value in view._asdict().items() if name != "history"},
        "reference": view.reference.hex if view.reference else None,
    }

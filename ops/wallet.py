"""`wbs wallet USER`: all of a user's money: each currency's split, open withdrawals and holds, the last movements.

Exit codes: 0 done, 1 there is no such user, 2 nothing is running here, or the database is away.
"""

import argparse
from typing import Any, NamedTuple

from db import lists, transfer_reads
from db.connections import Reader
from db.lists import EVER
from db.operator_search import OPEN, Filters, search
from db.reads import Balance, TransactionPage, WithdrawalView, balances, transactions
from db.statements import currencies
from ops.errors import OpsError
from ops.reading import Asked, add_json, when
from ops.tables import table
from ops.withdrawals import plain_withdrawal, text
from wallet.receipts import HoldReceipt

SHOWN_MAX = 20


class Wallets(NamedTuple):
    """A user's money."""

    balances: list[Balance]
    withdrawals: list[WithdrawalView]
    """Those that have not ended, the newest first."""
    holds: list[HoldReceipt]
    movements: dict[str, TransactionPage]
    """The last charges and withdrawals, by currency."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wbs wallet` to the command line."""
    parser = subparsers.add_parser(
        "wallet",
        help="all of a user's money",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("user", metavar="USER")
    parser.add_argument("--limit", type=int, default=SHOWN_MAX, metavar="N", help="of each list (default 20)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the user's money. Raises TryLater, OpsError."""
    asked = Asked()
    limit = max(1, min(args.limit, 1_000))
    found = asked.run(lambda reader: _read(reader, args.user, limit))
    if not found.balances:
        raise OpsError("There is no such user.")
    if args.json:
        asked.print_json(_document(args.user, found))
    else:
        print(_text(found, asked))
    return 0


async def _read(reader: Reader, user_id: str, limit: int) -> Wallets:
    ids = [(user_id, currency) for currency in await currencies(reader, user_id)]
    splits = await balances(reader, ids) if ids else {}
    open_ones = await search(reader, Filters(statuses=OPEN, user_id=user_id), limit)
    holds, movements = [], {}
    for wallet in ids:
        page = await lists.holds(reader, wallet, EVER, limit, "open")
        holds += await transfer_reads.holds(reader, page.ids) if page.ids else []
        movements[wallet[1]] = await transactions(reader, wallet, limit=limit)
    return Wallets(list(splits.values()), open_ones.items, holds, movements)


def _document(user_id: str, found: Wallets) -> dict[str, Any]:
    return {
        "user_id": user_id,
        "wallets": [split._asdict() for split in found.balances],
        "open_withdrawals": [plain_withdrawal(view) for view in found.withdrawals],
        "open_holds": [hold._asdict() for hold in found.holds],
        "transactions": {
            currency: {"total": page.total, "items": [row._asdict() for row in page.items]}
            for currency, page in found.movements.items()
        },
    }


def _text(found: Wallets, asked: Asked) -> str:
    heads = ("CURRENCY", "TOTAL", "WITHDRAWABLE", "LOCKED", "HELD")
    rows = [
        (
            one.currency,
            *(
                asked.spelled(part, one.currency)
                for part in (one.total, one.withdrawable, one.locked, one.held)
            ),
        )
        for one in sorted(found.balances, key=lambda one: one.currency)
    ]
    parts = [table(heads, rows, right=heads[1:])]
    if found.withdrawals:
        parts.append("Open withdrawals\n" + text(found.withdrawals, asked))
    if found.holds:
        held = [
            (
                str(hold.id),
                asked.spelled(hold.amount, hold.currency),
                when(hold.created_at),
                f"{hold.expires_at:%Y-%m-%d %H:%M:%S}Z" if hold.expires_at else "never",
            )
            for hold in found.holds
        ]
        parts.append("Open holds\n" + table(("ID", "AMOUNT", "MADE", "EXPIRES"), held, right=("AMOUNT",)))
    for currency, page in found.movements.items():
        moved = [
            (str(row.id), row.kind, row.status, asked.spelled(row.amount, currency), when(row.created_at))
            for row in page.items
        ]
        shown = table(("ID", "KIND", "STATUS", "AMOUNT", "WHEN"), moved, right=("AMOUNT",))
        if shown:
            parts.append(f"The last of {page.total:,} charges and withdrawals in {currency}\n{shown}")
    return "\n\n".join(parts)

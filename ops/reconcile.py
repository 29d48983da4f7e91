"""`wbs reconcile`: reads all of the bank's books, settles what the bank has decided, names the differences.

A withdrawal that the bank has paid and that is open here becomes completed; a payout that the bank got back is
returned here; a withdrawal that requires attention is settled by the bank's answer. Other differences are named and
left alone: missing there, unknown here, different in amount, doubled. The reconciler process does the same all the
time, page by page.

`--adopt` books payouts that only the bank knows instead, as after the restore of an older backup (ops/adopt.py).

Exit codes: 0 the books agree, 1 they differ, 2 it could not be done (database or bank away).
"""

import argparse
import asyncio
import json
import sys
from dataclasses import asdict, dataclass

from actors.audit import BANK, AuditImpossible, compare_with_bank
from actors.bank import open_bank
from actors.bank.books import BOOKS_WITHIN_S
from actors.bank.protocol import BooksUnreadable
from actors.look_ups import Discrepancy
from actors.reconciliation import BankComparison
from db.audit import Findings
from db.errors import DATABASE_ERRORS
from db.reconciliation import ReconcilerSession
from db.withdrawals import Withdrawals
from ops import adopt
from ops.audit import add_within, named
from ops.environment import running_environment
from ops.failures import explain
from ops.operators import add_by
from runtime.settings import Settings
from wallet.errors import TryLater

_NAMED = ("contradiction", "not_writable", "returned_less", "unreadable")
"""Kinds of discrepancies that a comparison of the books does not show."""
_NAMED_MAX = 100


@dataclass(slots=True)
class Reconciliation:
    """The number of withdrawals that the bank's word settled, and the differences after that."""

    entries: int
    settled: int
    differences: Findings
    named: list[Discrepancy]
    """Statements of the bank that can't be booked, or not in full: for a person."""


async def reconcile(settings: Settings, within_s: float = BOOKS_WITHIN_S) -> Reconciliation:
    """Compare and settle. Raises AuditImpossible if the database or the bank can't be read.

    `within_s` is the longest time for each of two readings of the bank's books, in seconds.
    """
    session, withdrawals = ReconcilerSession(settings), Withdrawals(settings)
    bank = open_bank(settings.for_bank)
    withdrawals.start()
    try:
        await session.lead()  # connects; both may lead at once, since every step is compare-and-set
        comparison = BankComparison(bank, session, withdrawals, settings.our_decline_codes)
        entries = await comparison.read_everything(within_s)
        findings = await compare_with_bank(settings, bank, within_s)
        named = [one for one in comparison.discrepancies if one.kind in _NAMED]
        return Reconciliation(entries, comparison.look_ups.settled, findings, named)
    except BooksUnreadable as error:
        raise AuditImpossible(f"the bank's books can't be read: {error}") from error
    except (TryLater, *DATABASE_ERRORS) as error:
        raise AuditImpossible(explain(error)) from error
    finally:
        await withdrawals.stop()
        await session.close()
        await bank.close()


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wbs reconcile` to the command line."""
    parser = subparsers.add_parser(
        "reconcile", help="compare our withdrawals with the bank's books", description=__doc__
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_within(parser)
    adopt.add_arguments(parser)
    add_by(parser)


def run(args: argparse.Namespace) -> int:
    """Reconcile the running stack."""
    settings = Settings.from_env(running_environment())
    try:
        if args.adopt is not None:
            return adopt.run_adopt(args, settings)
        result = asyncio.run(reconcile(settings, args.within))
    except AuditImpossible as error:
        print(f"wbs reconcile: {error}", file=sys.stderr)
        return 2
    differences = result.differences
    if args.json:
        print(
            json.dumps(
                {
                    "entries": result.entries,
                    "settled": result.settled,
                    "differences_total": differences.total(),
                    "totals": differences.totals(),
                    "differences": [difference._asdict() for difference in differences.violations],
                    "unsettled_total": differences.unsettled_total,
                    "named_total": len(result.named),
                    "named": [asdict(one) for one in result.named[:_NAMED_MAX]],
                }
            )
        )
    else:
        print(f"{result.entries:,} entries at the bank; {result.settled:,} settled by its word")
        print("\n".join(named(differences, BANK)) or "the books agree")
        for one in result.named[:_NAMED_MAX]:
            print(f"{one.kind} {one.reference}: the bank says {one.bank}; ours {one.ours}")
        if len(result.named) > _NAMED_MAX:
            print(f"… and {len(result.named) - _NAMED_MAX:,} more")
        if differences.total():
            print(f"{differences.total():,} differences")
    return 1 if differences.total() else 0

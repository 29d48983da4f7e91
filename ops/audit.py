"""`wbs audit`: checks all eight invariants of the books, the bank's books included.

Everything that is wrong is counted and added up, by kind and currency; the first 100 of each invariant are named.

Exit codes: 0 nothing wrong, 1 violations found, 2 the audit could not be done (database or bank away).
"""

import argparse
import asyncio
import json
import sys
import time
from datetime import UTC, datetime

from actors.audit import BANK, AuditImpossible, Report, run_audit
from actors.bank.books import BOOKS_WITHIN_S
from db.audit import Findings
from db.audit_runs import record
from db.errors import DATABASE_ERRORS
from db.watch import watched_session
from ops.environment import running_environment
from ops.operators import add_by, operator
from runtime.settings import Settings

INVARIANTS = {
    1: "each balance is the sum of its transfers, each row follows from the one before",
    2: "held = open withdrawals and holds, locked = what is not released, one to one",
    3: "nothing below zero, one end state, legal histories in time, the open is taken up",
    4: "one payout at most, exactly one if completed",
    5: "the bank's books agree",
    6: "each idempotency key points to one movement and has its fingerprint",
    7: "transfers take and bring as much, reversals undo no more than there was",
    8: "each movement and each move is told by one event, in numbers without gaps",
}
_PROGRESS_EVERY_S = 1.0


class _Progress:
    """Report the progress of the audit, at most once per second."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _PROGRESS_EVERY_S

    def __call__(self, text: str) -> None:
        if time.monotonic() >= self._next:
            print(f"audit: {text}", file=sys.stderr, flush=True)
            self._next = time.monotonic() + _PROGRESS_EVERY_S


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wbs audit` to the command line."""
    parser = subparsers.add_parser("audit", help="check that the books are right", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--no-bank", action="store_true", help="leave the bank's books out (invariant 5)")
    parser.add_argument(
        "--record",
        action="store_true",
        help="let Prometheus know: what this audit finds replaces the findings of the last scheduled one",
    )
    add_by(parser)
    add_within(parser)


def add_within(parser: argparse.ArgumentParser) -> None:
    """Add the option that bounds the time for the bank's books."""
    parser.add_argument(
        "--within",
        type=_seconds,
        default=BOOKS_WITHIN_S,
        metavar="S",
        help=f"seconds for reading the bank's books to their end (default {BOOKS_WITHIN_S:.0f})",
    )


def _seconds(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Audit the running stack, or what DATABASE_URL and WBS_BANK_URL name."""
    if args.record and args.no_bank:
        print("wbs audit: an audit without the bank's books is not recorded", file=sys.stderr)
        return 2
    try:
        report = asyncio.run(_audit(Settings.from_env(running_environment()), args))
    except AuditImpossible as error:
        if args.json:
            print(json.dumps({"ok": None, "error": str(error)}))
        else:
            print(f"wbs audit: {error}", file=sys.stderr)
        return 2
    print(report.as_json() if args.json else _text(report))
    return 0 if report.ok else 1


async def _audit(settings: Settings, args: argparse.Namespace) -> Report:
    """Audit, and record the result if that is wanted. Raises AuditImpossible."""
    started_at = datetime.now(UTC)
    report = await run_audit(settings, bank=not args.no_bank, tell=_Progress(), within_s=args.within)
    if args.record:
        findings = report.findings
        try:
            async with watched_session(settings.database_url) as connection:
                await record(connection, started_at, findings.total(), report.summary, operator(args))
        except DATABASE_ERRORS as error:
            raise AuditImpossible(f"the audit is done, but can't be recorded: {error}") from error
    return report


def _text(report: Report) -> str:
    findings = report.findings
    checked = ", ".join(f"{number:,} {what}" for what, number in findings.checked.items())
    lines = [f"checked {checked} in {report.seconds:.1f} s"]
    for number, text in INVARIANTS.items():
        if number == BANK and not report.bank_checked:
            lines.append(f"  –  {number}. {text}: not checked")
            continue
        lines.append(f"  {'✗' if findings.total(number) else '✓'}  {number}. {text}")
        lines += named(findings, number)
    lines += [f"  …  on its way: {text}" for text in findings.unsettled]
    if more := findings.unsettled_total - len(findings.unsettled):
        lines.append(f"  …  on its way: and {more:,} more")
    lines.append("the books are right" if report.ok else f"{findings.total():,} violations")
    return "\n".join(lines)


def named(findings: Findings, invariant: int) -> list[str]:
    """Return the violations of one invariant as lines: the first ones, how many more, and the sums by kind."""
    first = [v for v in findings.violations if v.invariant == invariant]
    lines = [f"       {v.subject}: expected {v.expected}; found {v.found}" for v in first]
    if more := findings.total(invariant) - len(first):
        lines.append(f"       … and {more:,} more")
    return lines + [f"       {line}" for line in findings.totals_text(invariant)]

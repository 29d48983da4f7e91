"""`wbs audit`: checks all seven invariants of the books, the bank's books included.

Everything that is wrong is counted and added up, by kind and currency; the first 100 of each invariant are named.

Exit codes: 0 nothing wrong, 1 violations found, 2 the audit could not be done (database or bank away).
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

from actors.bank import open_bank
from actors.bank.books import BOOKS_WITHIN_S, pages_of
from actors.bank.protocol import Bank, BooksUnreadable
from db.audit import DUE_WITHIN, Findings, Payout, TooManyPayouts, audit_bank, audit_books, auditor
from db.errors import DATABASE_ERRORS
from ops.environment import running_environment
from runtime.settings import Settings, SettingsError

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
BANK = 5
"""The invariant that the bank's books decide."""
_PROGRESS_EVERY_S = 1.0


@dataclass(slots=True)
class Report:
    """The findings of an audit. `ok` is True if every invariant holds."""

    ok: bool
    findings: Findings
    bank_checked: bool
    seconds: float

    def as_json(self) -> str:
        """Return the report as one JSON document."""
        return json.dumps(
            {
                "ok": self.ok,
                "checked": self.findings.checked,
                "bank_checked": self.bank_checked,
                "violations_total": self.findings.total(),
                "totals": self.findings.totals(),
                "violations": [violation._asdict() for violation in self.findings.violations],
                "unsettled_total": self.findings.unsettled_total,
                "unsettled": self.findings.unsettled,
                "seconds": round(self.seconds, 3),
            }
        )


class AuditImpossible(Exception):
    """The database or the bank could not be read; nothing is known of the books."""


async def run_audit(
    settings: Settings, *, bank: bool = True, progress: bool = False, within_s: float = BOOKS_WITHIN_S
) -> Report:
    """Audit the books of the database at `settings.database_url`. Raises AuditImpossible.

    `within_s` is the longest time for the bank's books, in seconds.
    """
    started = time.monotonic()
    findings = Findings(settings.taken_currencies.spelled)
    tell = _Progress() if progress else _silent
    try:
        async with auditor(settings.database_url) as connection:
            await audit_books(connection, findings, tell, _due_within(settings))
            if bank:
                await audit_bank(connection, _bank_pages(settings, findings, within_s), findings, tell)
    except TooManyPayouts as error:
        raise AuditImpossible(str(error)) from error
    except DATABASE_ERRORS as error:
        raise AuditImpossible(f"the database can't be read: {error}") from error
    return Report(not findings.total(), findings, bank, time.monotonic() - started)


def _due_within(settings: Settings) -> timedelta:
    """Return the time within which whatever is open is taken up again: the default, or longer if a setting says so."""
    longest_ms = max(settings.lease_ms, settings.retry_delay_ms_max, settings.redrive_after_ms)
    return max(DUE_WITHIN, 2 * timedelta(milliseconds=longest_ms))


async def compare_with_bank(settings: Settings, bank: Bank, within_s: float) -> Findings:
    """Check invariant 5 alone, once all that the bank knows has been written down. Raises AuditImpossible.

    `within_s` is the longest time for the bank's books, in seconds.
    """
    findings = Findings(settings.taken_currencies.spelled)
    books = _payouts_of(bank, findings, settings.bank_url, within_s)
    try:
        async with auditor(settings.database_url) as connection:
            await audit_bank(connection, books, findings, _silent, told_all=True)
    except TooManyPayouts as error:
        raise AuditImpossible(str(error)) from error
    except DATABASE_ERRORS as error:
        raise AuditImpossible(f"the database can't be read: {error}") from error
    return findings


async def _bank_pages(settings: Settings, findings: Findings, within_s: float) -> AsyncIterator[list[Payout]]:
    """Yield the books of the bank that the settings name. Raises AuditImpossible."""
    try:
        bank = open_bank(settings.for_bank)
    except SettingsError as error:
        raise AuditImpossible(str(error)) from error
    try:
        async for page in _payouts_of(bank, findings, settings.bank_url, within_s):
            yield page
    finally:
        await bank.close()


async def _payouts_of(
    bank: Bank, findings: Findings, address: str, within_s: float
) -> AsyncIterator[list[Payout]]:
    """Yield the books, page by page, from the first entry to their end at this moment. Raises AuditImpossible.

    Lines that can't be understood are among the findings: nobody knows what they say of our money.
    """
    try:
        async for page in pages_of(bank, within_s=within_s):
            for line in page.passed_over:
                findings.add(
                    BANK, "unreadable_entry", "the bank's books", "an entry that says something", line
                )
            yield [
                Payout(
                    e.payout_id, e.reference, e.amount, e.currency, e.status, e.created_at, e.returned_amount
                )
                for e in page.entries
            ]
    except BooksUnreadable as error:
        raise AuditImpossible(f"the bank's books can't be read at {address}: {error}") from error


class _Progress:
    """Report the progress of the audit, at most once per second."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _PROGRESS_EVERY_S

    def __call__(self, text: str) -> None:
        if time.monotonic() >= self._next:
            print(f"audit: {text}", file=sys.stderr, flush=True)
            self._next = time.monotonic() + _PROGRESS_EVERY_S


def _silent(text: str) -> None:
    """Progress for those who don't want any."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wbs audit` to the command line."""
    parser = subparsers.add_parser("audit", help="check that the books are right", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--no-bank", action="store_true", help="leave the bank's books out (invariant 5)")
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
    try:
        report = asyncio.run(
            run_audit(
                Settings.from_env(running_environment()),
                bank=not args.no_bank,
                progress=True,
                within_s=args.within,
            )
        )
    except AuditImpossible as error:
        if args.json:
            print(json.dumps({"ok": None, "error": str(error)}))
        else:
            print(f"wbs audit: {error}", file=sys.stderr)
        return 2
    print(report.as_json() if args.json else _text(report))
    return 0 if report.ok else 1


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

"""An audit of all seven invariants, the bank's books included: what `wbs audit` reports, and each night's audit.

`python -m actors.audit` is the child process in which the reconciler has it done (`actors.nightly`): it reads the whole
ledger, which must not delay the reconciler's beats, and prints one line of JSON. Exit codes are those of `wbs audit`.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

from actors.bank import open_bank
from actors.bank.books import BOOKS_WITHIN_S, pages_of
from actors.bank.protocol import Bank, BooksUnreadable
from db.audit import DUE_WITHIN, Findings, Payout, TooManyPayouts, audit_bank, audit_books, auditor
from db.audit.findings import Progress
from db.errors import DATABASE_ERRORS
from runtime.identity import name_process
from runtime.settings import Settings, SettingsError

BANK = 5
"""The invariant that the bank's books decide."""
NICENESS = 10


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
                "summary": self.summary,
                "totals": self.findings.totals(),
                "violations": [violation._asdict() for violation in self.findings.violations],
                "unsettled_total": self.findings.unsettled_total,
                "unsettled": self.findings.unsettled,
                "seconds": round(self.seconds, 3),
            }
        )

    @property
    def summary(self) -> str:
        """The violations by kind and currency, in one line."""
        return "; ".join(line for invariant in range(1, 8) for line in self.findings.totals_text(invariant))


class AuditImpossible(Exception):
    """The database or the bank could not be read; nothing is known of the books."""


async def run_audit(
    settings: Settings, *, bank: bool = True, tell: Progress | None = None, within_s: float = BOOKS_WITHIN_S
) -> Report:
    """Audit the books of the database at `settings.database_url`. Raises AuditImpossible.

    `tell` is called with the progress, `within_s` is the longest time for the bank's books, in seconds.
    """
    started = time.monotonic()
    findings = Findings(settings.taken_currencies.spelled)
    tell = tell or _silent
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


def _silent(text: str) -> None:
    """Progress for those who don't want any."""


def main() -> int:
    """Audit what the environment names, with few claims to the processor, and print the report as JSON."""
    name_process("audit")
    os.nice(NICENESS)
    parent = os.getppid()

    def require_parent(_: str) -> None:
        if os.getppid() != parent:
            raise AuditImpossible("nobody waits for the report any more")

    try:
        report = asyncio.run(run_audit(Settings.from_env(), tell=require_parent))
    except (AuditImpossible, SettingsError) as error:
        sys.stdout.write(json.dumps({"ok": None, "error": str(error)}) + "\n")
        return 2
    sys.stdout.write(report.as_json() + "\n")
    return 0 if report.ok else 1


if __name__ == "__main__":
    raise SystemExit(main())

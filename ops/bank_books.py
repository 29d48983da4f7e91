"""The bank's books, page by page, as audit and reconciliation compare them: read through the bank of the settings."""

from collections.abc import AsyncIterator

from actors.bank import open_bank
from db.audit import Findings, Payout
from runtime.settings import Settings

BANK = 5
"""The invariant that the bank's books decide."""


async def pages(settings: Settings, findings: Findings) -> AsyncIterator[list[Payout]]:
    """Yield the books from the first entry on, in order, until their end at this moment.

    Lines that can't be understood are among the findings: nobody knows what they say of our money. Raises
    `actors.bank.protocol.BooksUnreadable`, and SettingsError if there is no such bank.
    """
    bank = open_bank(settings)
    try:
        after, more = None, True
        while more:
            page = await bank.read_books(after)
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
            after, more = page.cursor, page.more
    finally:
        await bank.close()

"""The bank's books, read entry by entry: an unreadable entry is reported and skipped, the others count."""

from collections.abc import AsyncIterator
from datetime import datetime
from time import monotonic
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from actors.bank.protocol import BOOK_STATUSES, Bank, BookEntry, BooksPage, BooksUnreadable
from actors.bank.replies import Amount, Unreadable, Word, check_words, read_json

BOOKS_WITHIN_S = 3600.0
"""Longest time for one reading of the books, unless somebody names another."""


class _Line(msgspec.Struct):
    payout_id: Word
    reference: Word
    amount: Amount
    currency: Word
    status: Word
    created_at: Annotated[datetime, Meta(tz=True)]
    returned_amount: Amount | None = None
    code: Word | None = None


class _Twice:
    """Stands for an object that named a member twice."""


def page_of(body: bytes, after: str | None) -> BooksPage:
    """Read the page that follows cursor `after`. Raises BooksUnreadable if the body is not a page at all."""
    try:
        page = read_json(body, on_twice=_Twice)
        if not isinstance(page, dict) or not isinstance(page.get("payouts"), list):
            raise Unreadable("not a page of payouts")
        lines, following = page["payouts"], page.get("next")
        if following is not None:
            msgspec.convert(following, Word)
            check_words(following)
    except (Unreadable, msgspec.ValidationError) as error:
        raise BooksUnreadable(f"the page can't be read: {error}") from None
    if following is not None and (following == after or not lines):
        raise BooksUnreadable("the books don't move on")  # otherwise we would read the same page for ever
    entries, passed_over, last = [], [], after
    for number, line in enumerate(lines):
        payout_id = _payout_id(line)
        last = payout_id or last
        try:
            entries.append(_entry_of(line))
        except (Unreadable, msgspec.ValidationError) as error:
            passed_over.append(f"{payout_id or f'entry {number + 1} after {after!r}'}: {error}")
    return BooksPage(entries, following or last, following is not None, tuple(passed_over))


def _entry_of(line: Any) -> BookEntry:
    """Return the entry. Raises Unreadable, msgspec.ValidationError."""
    if isinstance(line, _Twice):
        raise Unreadable("a member is named twice")
    read = msgspec.convert(line, _Line)
    check_words(read.payout_id, read.reference, read.currency, read.status, read.code)
    if read.status not in BOOK_STATUSES:
        raise Unreadable(f"unknown status {read.status!r}")
    if read.returned_amount is not None and (read.status != "returned" or read.returned_amount > read.amount):
        raise Unreadable("returned_amount does not go with status and amount")
    return BookEntry(**msgspec.structs.asdict(read))


def _payout_id(line: Any) -> str | None:
    """Return the line's id, even if the rest is unreadable, or None if the id is unreadable too.

    A person finds the line by it, and reading goes on after it.
    """
    try:
        payout_id: str = msgspec.convert(line.get("payout_id") if isinstance(line, dict) else None, Word)
        check_words(payout_id)
    except (Unreadable, msgspec.ValidationError):
        return None
    return payout_id


async def pages_of(
    bank: Bank, after: str | None = None, *, within_s: float = BOOKS_WITHIN_S
) -> AsyncIterator[BooksPage]:
    """Yield the books from after cursor `after` (None: the first entry) to their present end.

    Raises BooksUnreadable, also if the end is not reached within `within_s` seconds.
    """
    give_up_at = monotonic() + within_s
    cursor, more = after, True
    pages = 0
    # One remembered cursor shows a circle of any length, if each is kept for twice as long as the one before.
    mark, marked_at = after, 0
    while more:
        page = await bank.read_books(cursor)
        yield page
        cursor, more, pages = page.cursor, page.more, pages + 1
        if more and cursor == mark:
            raise BooksUnreadable(f"the books go round: cursor {cursor!r} comes again")
        if more and monotonic() > give_up_at:
            raise BooksUnreadable(f"the books did not end within {within_s:g} s, after {pages:,} pages")
        if pages > 2 * marked_at:
            mark, marked_at = cursor, pages

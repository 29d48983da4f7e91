"""The bank's books, read entry by entry: an unreadable entry is reported and skipped, the others count."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from actors.bank.protocol import BOOK_STATUSES, Bank, BookEntry, BooksPage, BooksUnreadable
from actors.bank.replies import Amount, Unreadable, Word, check_words, read_json


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


async def pages_of(bank: Bank, after: str | None = None) -> AsyncIterator[BooksPage]:
    """Yield the books from after cursor `after` (None: the first entry) to their present end.

    Raises BooksUnreadable.
    """
    seen: set[str | None] = {None, after}
    cursor, more = after, True
    while more:
        page = await bank.read_books(cursor)
        yield page
        cursor, more = page.cursor, page.more
        if more and cursor in seen:
            raise BooksUnreadable(f"the books go round: cursor {cursor!r} comes again")
        seen.add(cursor)

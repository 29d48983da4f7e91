"""A page of a bank's books, read entry by entry."""

import asyncio
import json
from datetime import UTC, datetime

import pytest

from actors.bank.books import page_of, pages_of
from actors.bank.protocol import BookEntry, BooksPage, BooksUnreadable
from tests.fakes import ScriptedBank

LINE = {
    "payout_id": "po_2",
    "reference": "w-2",
    "amount": 1250,
    "currency": "USD",
    "status": "paid",
    "created_at": "2026-11-27T05:00:00Z",
}
ENTRY = BookEntry("po_2", "w-2", 1250, "USD", "paid", datetime(2026, 11, 27, 5, tzinfo=UTC))


def page(*lines: object, following: object = None) -> bytes:
    """A page with these lines."""
    return json.dumps({"payouts": lines, "next": following}).encode()


def test_what_each_status_means() -> None:
    """Goal: only paid and returned money has left; pending and declined entries are there and are not paid."""
    read = page_of(
        page(*({**LINE, "status": status} for status in ("paid", "returned", "pending", "declined"))), None
    )
    assert [entry.is_paid for entry in read.entries] == [True, True, False, False]
    assert read.entries[0] == ENTRY
    assert (read.cursor, read.more, read.passed_over) == ("po_2", False, ())
    returned = page_of(page({**LINE, "status": "returned", "returned_amount": 400}), None).entries[0]
    assert (returned.amount, returned.returned_amount) == (1250, 400)


@pytest.mark.parametrize(
    "line",
    [
        {**LINE, "status": "PAID"},
        {**LINE, "status": "frozen"},
        {**LINE, "status": None},
        {**LINE, "amount": "1250"},
        {**LINE, "amount": 1250.0},
        {**LINE, "amount": 0},
        {**LINE, "amount": -1},
        {**LINE, "amount": 2**63},
        {**LINE, "payout_id": "po\0"},
        {**LINE, "payout_id": "p" * 256},
        {**LINE, "payout_id": 7},
        {**LINE, "reference": "a\nb"},
        {**LINE, "currency": ""},
        {**LINE, "created_at": "yesterday"},
        {**LINE, "created_at": "2026-11-27T05:00:00"},
        {**LINE, "created_at": None},
        {**LINE, "returned_amount": 5},
        {**LINE, "status": "returned", "returned_amount": 1251},
        {name: value for name, value in LINE.items() if name != "amount"},
        "po_2",
        None,
        [],
        7,
    ],
)
def test_an_entry_that_says_nothing_certain_is_named_and_passed_over(line: object) -> None:
    """Goal: one bad entry neither counts nor hides those before and behind it, and the cursor goes on."""
    before, behind = {**LINE, "payout_id": "po_1"}, {**LINE, "payout_id": "po_3"}
    read = page_of(page(before, line, behind), "po_0")
    assert [entry.payout_id for entry in read.entries] == ["po_1", "po_3"]
    assert len(read.passed_over) == 1
    assert read.passed_over[0].isprintable()
    assert read.cursor == "po_3"
    alone = page_of(page(line), "po_0")
    assert not alone.entries
    assert alone.cursor in ("po_0", "po_2")
    assert page_of(page(line, following="po_9"), "po_0").cursor == "po_9"


def test_an_entry_with_a_member_twice_is_passed_over() -> None:
    """Goal: an entry that can be read in two ways is read in none; the page is."""
    doubled = json.dumps(LINE).replace('"amount"', '"amount": 1, "amount"')
    read = page_of(f'{{"payouts": [{doubled}, {json.dumps(LINE)}], "next": null}}'.encode(), None)
    assert read.entries == [ENTRY]
    assert len(read.passed_over) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"payouts": null}',
        b'{"payouts": {}}',
        b'{"payouts": [], "payouts": []}',
        b"\xef\xbb\xbf" + page(LINE),
        b"<html>",
        page(following="po_9"),
        page(LINE, following="po_0"),
        page(LINE, following=7),
        page(LINE, following="a\0"),
    ],
)
def test_what_is_no_page(body: bytes) -> None:
    """Goal: from what can't be read as a page, or leads nowhere, nothing follows about any payout."""
    with pytest.raises(BooksUnreadable):
        page_of(body, "po_0")


async def test_books_that_go_round_are_unreadable() -> None:
    """Goal: a bank whose cursors come again does not keep a reader for ever."""

    class Round(ScriptedBank):
        async def read_books(self, after: str | None) -> BooksPage:
            return BooksPage([], "b" if after == "a" else "a", more=True)

    with pytest.raises(BooksUnreadable, match="go round"):
        [page async for page in pages_of(Round())]


@pytest.mark.parametrize(("before", "length"), [(0, 1), (1, 1), (3, 5), (40, 7)])
async def test_books_that_go_round_after_a_while(before: int, length: int) -> None:
    """Goal: whatever stands before the circle, and however long it is, the reading ends soon after it closes."""

    class Round(ScriptedBank):
        async def read_books(self, after: str | None) -> BooksPage:
            number = 0 if after is None else int(after) + 1
            read.append(number)
            return BooksPage([], str(number if number < before + length else before), more=True)

    read: list[int] = []
    with pytest.raises(BooksUnreadable, match="go round"):
        [page async for page in pages_of(Round())]
    assert len(read) <= 4 * (before + length) + 2


async def test_books_without_an_end_are_left_in_time() -> None:
    """Goal: a bank that has always one page more does not keep a reader for ever."""

    class Endless(ScriptedBank):
        async def read_books(self, after: str | None) -> BooksPage:
            await asyncio.sleep(0)
            return BooksPage([ENTRY], str(int(after or 0) + 1), more=True)

    read: list[BooksPage] = []

    async def read_all() -> None:
        async for page in pages_of(Endless(), within_s=0.2):
            read.append(page)

    with pytest.raises(BooksUnreadable, match=r"did not end within 0\.2 s"):
        await read_all()
    assert len(read) > 1

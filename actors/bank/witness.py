"""Observes the answers of a bank module: their time and their bounds."""

from collections.abc import Awaitable
from time import monotonic
from typing import TypeVar

from actors.bank.protocol import BOOKS_PAGE_ENTRIES_MAX, WORD_CHARACTERS_MAX, Bank, BooksPage, PayoutOrder
from wallet.outcomes import FindOutcome, PayOutcome

_T = TypeVar("_T")


class Witness:
    """A `Bank` that passes every call on, and remembers the slowest call and every value out of bounds."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self.calls = 0
        self.slowest_s = 0.0
        self.slowest = ""
        """Name of the slowest call."""
        self.out_of_bounds: list[str] = []

    async def pay(self, order: PayoutOrder) -> PayOutcome:
        """See `Bank.pay`."""
        outcome = await self._timed("pay", self._bank.pay(order))
        self._look_at(outcome)
        return outcome

    async def find(self, order: PayoutOrder, *, compare_all: bool = False) -> FindOutcome:
        """See `Bank.find`."""
        outcome = await self._timed("find", self._bank.find(order, compare_all=compare_all))
        self._look_at(outcome)
        return outcome

    async def read_books(self, after: str | None) -> BooksPage:
        """See `Bank.read_books`."""
        page = await self._timed("read_books", self._bank.read_books(after))
        if len(page.entries) > BOOKS_PAGE_ENTRIES_MAX:
            self.out_of_bounds.append(f"a page of {len(page.entries):,} entries")
        self._look_at(page)
        for entry in page.entries:
            self._look_at(entry)
        return page

    async def close(self) -> None:
        """See `Bank.close`."""
        await self._bank.close()

    async def _timed(self, name: str, call: Awaitable[_T]) -> _T:
        self.calls += 1
        started = monotonic()
        try:
            return await call
        finally:
            took_s = monotonic() - started
            if took_s > self.slowest_s:
                self.slowest_s, self.slowest = took_s, name

    def _look_at(self, answer: object) -> None:
        """Remember words of the bank that are too long or contain invisible characters."""
        for name in ("payout_id", "reference", "currency", "code", "cursor"):
            word = getattr(answer, name, None)
            if word is None:
                continue
            if not isinstance(word, str) or not 1 <= len(word) <= WORD_CHARACTERS_MAX:
                self.out_of_bounds.append(f"a {name} of {len(str(word)):,} characters")
            elif not word.isprintable() or word != word.strip():
                self.out_of_bounds.append(f"a {name} with invisible characters: {word!r}")

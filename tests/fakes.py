"""Hand-written stand-ins for what a unit test can't have for real."""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import TypeVar

from actors.bank.protocol import BooksPage, PayoutOrder
from wallet.outcomes import FindOutcome, PayOutcome

T = TypeVar("T")
HANG = "hang"


class ScriptedBank:
    """A bank that gives prepared answers and records its calls."""

    def __init__(
        self, pays: Iterable[PayOutcome | str] = (), finds: Iterable[FindOutcome | str] = ()
    ) -> None:
        self._pays, self._finds = deque(pays), deque(finds)
        self.calls: list[str] = []

    async def pay(self, order: PayoutOrder) -> PayOutcome:
        self.calls.append("pay")
        return await _given(self._pays.popleft())

    async def find(self, order: PayoutOrder, *, compare_all: bool = False) -> FindOutcome:
        self.calls.append("find")
        return await _given(self._finds.popleft())

    async def read_books(self, after: str | None) -> BooksPage:
        return BooksPage([], after, more=False)

    async def close(self) -> None:
        return None


async def _given(answer: T | str) -> T:
    """Return the answer; never, if it is HANG."""
    if isinstance(answer, str):
        await asyncio.Event().wait()
        raise AssertionError("unreachable")
    return answer

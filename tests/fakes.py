"""Hand-written stand-ins for what a unit test can't have for real."""

import asyncio
from collections import deque
from collections.abc import Iterable

from actors.bank.protocol import BooksPage, PayoutOrder
from wallet.outcomes import FindOutcome, PayOutcome

HANG = "hang"


class ScriptedBank:
    """A bank that gives prepared answers and records its calls."""

    def __init__(
        self, pays: Iterable[PayOutcome | str] = (), finds: Iterable[FindOutcome | str] = ()
    ) -> None:
        self._answers = {"pay": deque(pays), "find": deque(finds)}
        self.calls: list[str] = []

    async def pay(self, order: PayoutOrder) -> PayOutcome:
        return await self._answer("pay")  # type: ignore[return-value]

    async def find(self, order: PayoutOrder, *, compare_all: bool = False) -> FindOutcome:
        return await self._answer("find")

    async def read_books(self, after: str | None) -> BooksPage:
        return BooksPage([], after, more=False)

    async def close(self) -> None:
        return None

    async def _answer(self, call: str) -> FindOutcome:
        self.calls.append(call)
        answer = self._answers[call].popleft()
        if isinstance(answer, str):
            await asyncio.Event().wait()
            raise AssertionError("unreachable")
        return answer

"""Orders of a few minor units to try a bank with, placed as an actor places them."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from types import UnionType
from typing import TypeVar

import msgspec

from actors.bank.books import pages_of
from actors.bank.protocol import Bank, BookEntry, PayoutOrder
from actors.bank.witness import Witness
from wallet.outcomes import (
    CHECK_PREFIX,
    Accepted,
    BankUnavailable,
    Declined,
    FindOutcome,
    NotFound,
    OutcomeUnknown,
    Paid,
    Returned,
)

PATIENCE_S = 60.0
"""How long to wait for what the bank will say later, or for an answer at all."""

_Outcome = TypeVar("_Outcome", Paid, Declined, Returned)


class Failed(Exception):
    """The bank does not do what it must; the message says what it did."""


class NotTried(Exception):
    """It can't be tried here; the message says why."""


@dataclass(frozen=True, slots=True)
class Scope:
    """How far a trial may go. `amount` in minor units of `currency`."""

    currency: str
    amount: int = 1
    pays: bool = False
    """Payouts may be ordered."""
    simulates: bool = False
    """The bank knows the simulator's test destinations."""
    patience_s: float = PATIENCE_S
    later_ms: int = 500
    """When the simulator is to say what it says later."""
    pause_s: float = 0.2
    """Between two questions for what is not known yet."""
    call_s_max: float = 3.0
    """How long a call may take: the setting `WBS_BANK_TIMEOUT_MS`."""


class Trial:
    """The orders of one run of the checks, and what must be in the books because of them."""

    def __init__(self, bank: Bank, scope: Scope) -> None:
        self.bank = Witness(bank)
        self.scope = scope
        self.orders: dict[str, PayoutOrder] = {}
        """What was made up so far, by reference."""
        self.paid: dict[str, str] = {}
        """Reference and payout id of what was paid, also of what came back since."""
        self.first: tuple[PayoutOrder, str] | None = None
        """The first order that was paid, and its payout id."""
        self._run = secrets.token_hex(6)
        self._cursor: str | None = None
        self._last_page: tuple[str | None, list[str]] = (None, [])

    def order(self, *, destination: object = None, amount: int | None = None) -> PayoutOrder:
        """Return an order that was never placed."""
        order = PayoutOrder(
            f"{CHECK_PREFIX}{self._run}-{len(self.orders) + 1}",
            amount or self.scope.amount,
            self.scope.currency,
            None if destination is None else msgspec.json.encode(destination).decode(),
        )
        self.orders[order.reference] = order
        return order

    def paid_first(self) -> tuple[PayoutOrder, str]:
        """Return the first order that was paid, and its payout id. Raises NotTried if there is none."""
        if self.first is None:
            raise NotTried("no order was paid")
        return self.first

    async def pays(self, order: PayoutOrder) -> str:
        """Order until it is paid, as often as it takes; return the payout id. Raises Failed."""
        outcome = await self.settled(order)
        if isinstance(outcome, Accepted):
            outcome = await self.becomes(order, Paid)
        if not isinstance(outcome, Paid):
            raise Failed(f"{order.reference} is answered {outcome}")
        self.paid[order.reference] = outcome.payout_id
        return outcome.payout_id

    async def settled(self, order: PayoutOrder) -> FindOutcome:
        """Order; after an answer that says nothing look up, and order again if it is not found."""
        outcome: FindOutcome = await self.bank.pay(order)
        give_up_at = monotonic() + self.scope.patience_s
        while isinstance(outcome, BankUnavailable | OutcomeUnknown | NotFound) and monotonic() < give_up_at:
            await asyncio.sleep(self.scope.pause_s)
            outcome = await self.bank.find(order)
            if isinstance(outcome, NotFound):
                outcome = await self.bank.pay(order)
        return outcome

    async def accepted(self, destination: str) -> tuple[PayoutOrder, Accepted]:
        """Order until the bank says that it will say later: it can have said already. Raises Failed."""
        for _ in range(3):
            order = self.order(destination=destination)
            outcome = await self.settled(order)
            if isinstance(outcome, Accepted):
                return order, outcome
            if isinstance(outcome, Paid):
                self.paid[order.reference] = outcome.payout_id
        raise Failed(f"it is answered {outcome}")

    async def becomes(self, order: PayoutOrder, wanted: type[_Outcome]) -> _Outcome:
        """Look up until the outcome is of this kind. Raises Failed."""
        give_up_at = monotonic() + self.scope.patience_s
        while True:
            outcome = await self.bank.find(order)
            if isinstance(outcome, wanted):
                return outcome
            if monotonic() > give_up_at:
                raise Failed(f"{order.reference} does not become {wanted.__name__.lower()}; it is {outcome}")
            await asyncio.sleep(self.scope.pause_s)

    async def look_up(self, order: PayoutOrder) -> FindOutcome:
        """Look up until the bank says something."""
        return await self.said(lambda: self.bank.find(order), BankUnavailable | OutcomeUnknown)

    async def said(self, call: Callable[[], Awaitable[FindOutcome]], silent: UnionType | type) -> FindOutcome:
        """Call until the outcome is not a silent one: a bank may be away for a moment, and replies get lost."""
        give_up_at = monotonic() + self.scope.patience_s
        while True:
            outcome = await call()
            if not isinstance(outcome, silent) or monotonic() > give_up_at:
                return outcome
            await asyncio.sleep(self.scope.pause_s)

    # --- The books ---

    async def begin(self) -> None:
        """Remember where the books end, before the first order. Raises BooksUnreadable."""
        before = None
        async for page in pages_of(self.bank):
            if page.entries:
                self._last_page = (before, [entry.payout_id for entry in page.entries])
            before = self._cursor = page.cursor

    async def last_page(self) -> tuple[list[str], list[str]]:
        """Return the payout ids of the last page of before the first order, as they were and as they are now.

        Raises BooksUnreadable.
        """
        cursor, were = self._last_page
        if not were:
            return [], []
        page = await self.bank.read_books(cursor)
        return were, [entry.payout_id for entry in page.entries][: len(were)]

    async def entries(self) -> list[BookEntry]:
        """Read the books from where they ended; return what is of this run. Raises BooksUnreadable."""
        return [
            entry
            async for page in pages_of(self.bank, after=self._cursor)
            for entry in page.entries
            if entry.reference.startswith(f"{CHECK_PREFIX}{self._run}-")
        ]

"""Orders of a few minor units for trying a bank, placed in the same way as an actor places them."""

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
"""Longest wait for an outcome that the bank reports later, or for any answer at all."""

_Outcome = TypeVar("_Outcome", Paid, Declined, Returned)


class Failed(Exception):
    """The bank breaks the rule; the message says what it did."""


class NotTried(Exception):
    """The rule can't be tried here; the message says why."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Limits of a trial. `amount` is in minor units of `currency`."""

    currency: str
    amount: int = 1
    pays: bool = False
    """Payouts may be ordered."""
    simulates: bool = False
    """The bank knows the simulator's test destinations."""
    patience_s: float = PATIENCE_S
    later_ms: int = 500
    """Delay after which the simulator reports a later outcome."""
    pause_s: float = 0.2
    """Pause between two look-ups of an outcome that is not known yet."""
    call_s_max: float = 3.0
    """Longest allowed time of a call: the setting `WBS_BANK_TIMEOUT_MS`."""


class Trial:
    """The orders of one run of the checks, and the resulting entries that the books must have."""

    def __init__(self, bank: Bank, scope: Scope) -> None:
        self.bank = Witness(bank)
        self.scope = scope
        self.orders: dict[str, PayoutOrder] = {}
        """All orders made so far, by reference."""
        self.paid: dict[str, str] = {}
        """Payout ids of the paid orders, by reference, including those whose money came back later."""
        self.first: tuple[PayoutOrder, str] | None = None
        """The first order that was paid, and its payout id."""
        self._run = secrets.token_hex(6)
        self._cursor: str | None = None
        self._last_page: tuple[str | None, list[str]] = (None, [])

    def order(self, *, destination: object = None, amount: int | None = None) -> PayoutOrder:
        """Return a new order, which was never placed."""
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
        """Send the order as often as needed until it is paid; return the payout id. Raises Failed."""
        outcome = await self.settled(order)
        if isinstance(outcome, Accepted):
            outcome = await self.becomes(order, Paid)
        if not isinstance(outcome, Paid):
            raise Failed(f"{order.reference} is answered {outcome}")
        self.paid[order.reference] = outcome.payout_id
        return outcome.payout_id

    async def settled(self, order: PayoutOrder) -> FindOutcome:
        """Send the order; after an inconclusive answer, look it up, and send it again if it is not found."""
        outcome: FindOutcome = await self.bank.pay(order)
        give_up_at = monotonic() + self.scope.patience_s
        while isinstance(outcome, BankUnavailable | OutcomeUnknown | NotFound) and monotonic() < give_up_at:
            await asyncio.sleep(self.scope.pause_s)
            outcome = await self.bank.find(order)
            if isinstance(outcome, NotFound):
                outcome = await self.bank.pay(order)
        return outcome

    async def accepted(self, destination: str) -> tuple[PayoutOrder, Accepted]:
        """Send orders until the bank accepts one without settling it at once. Raises Failed."""
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
        """Look up until the bank gives a conclusive answer."""
        return await self.said(lambda: self.bank.find(order), BankUnavailable | OutcomeUnknown)

    async def said(self, call: Callable[[], Awaitable[FindOutcome]], silent: UnionType | type) -> FindOutcome:
        """Call until the outcome is not a `silent` one: a bank may be away for a moment, and replies get lost."""
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
        """Return the payout ids of the last page before the first order, as they were then and as they are now.

        Raises BooksUnreadable.
        """
        cursor, were = self._last_page
        if not were:
            return [], []
        page = await self.bank.read_books(cursor)
        return were, [entry.payout_id for entry in page.entries][: len(were)]

    async def entries(self) -> list[BookEntry]:
        """Read the books from their earlier end; return the entries of this run. Raises BooksUnreadable."""
        return [
            entry
            async for page in pages_of(self.bank, after=self._cursor)
            for entry in page.entries
            if entry.reference.startswith(f"{CHECK_PREFIX}{self._run}-")
        ]

"""Orders of a few minor units to try a bank with, placed as an actor places them."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from types import UnionType

import msgspec

from actors.bank.protocol import Bank, BookEntry, PayoutOrder
from wallet.outcomes import (
    CHECK_PREFIX,
    Accepted,
    BankUnavailable,
    FindOutcome,
    NotFound,
    OutcomeUnknown,
    Paid,
)

PATIENCE_S = 60.0
"""How long to wait for what the bank will say later, or for an answer at all."""

PAUSE_S = 0.2


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


class Trial:
    """The orders of one run of the checks, and what must be in the books because of them."""

    def __init__(self, bank: Bank, scope: Scope) -> None:
        self.bank = bank
        self.scope = scope
        self.paid: dict[str, str] = {}
        """Reference and payout id of what was paid, also of what came back since."""
        self._run = secrets.token_hex(6)
        self._orders = 0
        self._cursor: str | None = None

    def order(self, *, destination: object = None, amount: int | None = None) -> PayoutOrder:
        """Return an order that was never placed."""
        self._orders += 1
        return PayoutOrder(
            f"{CHECK_PREFIX}{self._run}-{self._orders}",
            amount or self.scope.amount,
            self.scope.currency,
            None if destination is None else msgspec.json.encode(destination).decode(),
        )

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
            await asyncio.sleep(PAUSE_S)
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

    async def becomes(self, order: PayoutOrder, wanted: type[FindOutcome]) -> FindOutcome:
        """Look up until the outcome is of this kind. Raises Failed."""
        give_up_at = monotonic() + self.scope.patience_s
        while True:
            outcome = await self.bank.find(order)
            if isinstance(outcome, wanted):
                return outcome
            if monotonic() > give_up_at:
                raise Failed(f"{order.reference} does not become {wanted.__name__.lower()}; it is {outcome}")
            await asyncio.sleep(PAUSE_S)

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
            await asyncio.sleep(PAUSE_S)

    # --- The books ---

    async def begin(self) -> None:
        """Remember where the books end, before the first order. Raises BooksUnreadable."""
        more = True
        while more:
            page = await self.bank.read_books(self._cursor)
            self._cursor, more = page.cursor, page.more

    async def entries(self) -> list[BookEntry]:
        """Read the books from there on; return what is of this run. Raises BooksUnreadable."""
        entries, cursor, more = [], self._cursor, True
        while more:
            page = await self.bank.read_books(cursor)
            entries += [
                entry for entry in page.entries if entry.reference.startswith(f"{CHECK_PREFIX}{self._run}-")
            ]
            cursor, more = page.cursor, page.more
        return entries

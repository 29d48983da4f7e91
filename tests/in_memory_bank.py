"""A bank module in memory: it does all that a bank must, test destinations included. Tests break it in one way each."""

import json
from datetime import UTC, datetime
from time import monotonic

from msgspec.structs import replace

from actors.bank.protocol import BookEntry, BooksPage, CursorUnknown, PayoutOrder
from wallet.outcomes import (
    Accepted,
    Declined,
    FindOutcome,
    NotFound,
    OutcomeUnknown,
    Paid,
    PayOutcome,
    Returned,
)

AT = datetime(2026, 11, 27, tzinfo=UTC)
PAGE = 3


class InMemoryBank:
    """Pays at once, unless the destination says otherwise; forgets nothing."""

    def __init__(self) -> None:
        self.orders: dict[str, PayoutOrder] = {}
        self.ids: dict[str, str] = {}
        self.entries: list[BookEntry] = []
        self._due: dict[str, tuple[float, str]] = {}
        """When something becomes of a payout, and what: paid, or declined."""
        self._declined: dict[str, str] = {}
        self._returned: dict[str, int] = {}
        self._count = 0

    # --- The protocol ---

    async def pay(self, order: PayoutOrder) -> PayOutcome:
        known = self.orders.get(order.reference)
        if known is not None and known != order:
            return OutcomeUnknown("http 409", conflict=True)
        if known is not None:
            return self._outcome(order)
        self.take(order)
        if _test_of(order)[0] in ("lost_reply", "hang"):
            return OutcomeUnknown("timeout")
        return self._outcome(order)

    async def find(self, order: PayoutOrder, *, compare_all: bool = False) -> FindOutcome:
        known = self.orders.get(order.reference)
        if known is None:
            return NotFound()
        if known != order:
            return OutcomeUnknown("wrong amount in the reply")
        outcome = self._outcome(order)
        if isinstance(outcome, Paid) and order.reference in self._returned:
            return Returned(outcome.payout_id, self._returned[order.reference])
        return outcome

    async def read_books(self, after: str | None) -> BooksPage:
        self._settle()
        ids = [entry.payout_id for entry in self.entries]
        if after is not None and after not in ids:
            raise CursorUnknown("http 422")
        start = 0 if after is None else ids.index(after) + 1
        page = self.entries[start : start + PAGE]
        return BooksPage(page, page[-1].payout_id if page else after, more=start + PAGE < len(ids))

    async def close(self) -> None:
        return None

    # --- What is behind it ---

    def take(self, order: PayoutOrder) -> None:
        """Take an order for the first time."""
        self.orders[order.reference] = order
        self.ids[order.reference] = self.new_id(order)
        kind, *details = _test_of(order)
        if kind == "decline":
            self._declined[order.reference] = details[0]
            return
        if kind == "pending":
            self._due[order.reference] = (monotonic() + int(details[0]) / 1000, "paid")
            return
        if kind == "pending-decline":
            self._due[order.reference] = (monotonic() + int(details[0]) / 1000, details[1])
            return
        self.enter(order)
        if kind == "late-decline":
            self._due[order.reference] = (monotonic() + int(details[0]) / 1000, details[1])
        if kind == "return":
            self._returned[order.reference] = order.amount
        if kind == "partial-return":
            self._returned[order.reference] = int(details[0])

    def new_id(self, order: PayoutOrder) -> str:
        """The bank's own name for a payout."""
        self._count += 1
        return f"po_{self._count}"

    def enter(self, order: PayoutOrder) -> None:
        """Write a payout into the books."""
        payout_id = self.ids[order.reference]
        self.entries.append(BookEntry(payout_id, order.reference, order.amount, order.currency, "paid", AT))

    def _settle(self) -> None:
        """Carry out the due changes of payouts."""
        for reference, (due_at, what) in list(self._due.items()):
            if due_at > monotonic():
                continue
            del self._due[reference]
            if what == "paid":
                self.enter(self.orders[reference])
                continue
            self._declined[reference] = what
            self.entries = [
                replace(entry, status="declined") if entry.reference == reference else entry
                for entry in self.entries
            ]

    def _outcome(self, order: PayoutOrder) -> Paid | Declined | Accepted:
        self._settle()
        if order.reference in self._declined:
            return Declined(self._declined[order.reference])
        if self._due.get(order.reference) and not any(e.reference == order.reference for e in self.entries):
            return Accepted(self.ids[order.reference])
        return Paid(self.ids[order.reference])


def _test_of(order: PayoutOrder) -> list[str]:
    """The parts of a test destination; of any other an empty word."""
    destination = json.loads(order.destination or "null")
    if not isinstance(destination, str) or not destination.startswith("test:"):
        return [""]
    return destination.removeprefix("test:").split(":")

"""The checks that any bank module must pass, on banks that fail each of them in one way."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from actors.bank.conformance import Check, Conformance
from actors.bank.protocol import BookEntry, BooksPage, CursorUnknown, PayoutOrder
from actors.bank.trial import Scope
from wallet.outcomes import FindOutcome, NotFound, OutcomeUnknown, Paid, PayOutcome

AT = datetime(2026, 11, 27, tzinfo=UTC)
SCOPE = Scope("USD", pays=True, patience_s=0.5)


class GoodBank:
    """A bank that pays at once and forgets nothing, in memory."""

    def __init__(self) -> None:
        self.orders: dict[str, PayoutOrder] = {}
        self.ids: dict[str, str] = {}
        self.entries: list[BookEntry] = []

    async def pay(self, order: PayoutOrder) -> PayOutcome:
        known = self.orders.get(order.reference)
        if known is not None and known != order:
            return OutcomeUnknown("http 409", conflict=True)
        if known is None:
            self.book(order)
        return Paid(self.ids[order.reference])

    def book(self, order: PayoutOrder) -> None:
        self.orders[order.reference] = order
        self.ids[order.reference] = f"po_{len(self.entries)}"
        self.enter(order)

    def enter(self, order: PayoutOrder) -> None:
        payout_id = self.ids[order.reference]
        self.entries.append(BookEntry(payout_id, order.reference, order.amount, order.currency, "paid", AT))

    async def find(self, order: PayoutOrder, *, compare_all: bool = False) -> FindOutcome:
        known = self.orders.get(order.reference)
        if known is None:
            return NotFound()
        return (
            Paid(self.ids[order.reference]) if known == order else OutcomeUnknown("wrong amount in the reply")
        )

    async def read_books(self, after: str | None) -> BooksPage:
        ids = [entry.payout_id for entry in self.entries]
        if after is not None and after not in ids:
            raise CursorUnknown("http 422")
        start = 0 if after is None else ids.index(after) + 1
        page = self.entries[start : start + 3]
        return BooksPage(page, page[-1].payout_id if page else after, more=start + 3 < len(ids))

    async def close(self) -> None:
        return None


class PaysTwice(GoodBank):
    async def pay(self, order: PayoutOrder) -> PayOutcome:
        self.book(order)
        return Paid(self.ids[order.reference])


class PaysWhateverIsAsked(GoodBank):
    async def pay(self, order: PayoutOrder) -> PayOutcome:
        if order.reference not in self.orders:
            self.book(order)
        return Paid(self.ids[order.reference])


class ForgetsWhatItPaid(GoodBank):
    async def find(self, order: PayoutOrder, *, compare_all: bool = False) -> FindOutcome:
        return NotFound()


class KnowsWhatNobodyOrdered(GoodBank):
    async def find(self, order: PayoutOrder, *, compare_all: bool = False) -> FindOutcome:
        return Paid(self.ids.get(order.reference, "po_x"))


class ComparesNothing(GoodBank):
    async def find(self, order: PayoutOrder, *, compare_all: bool = False) -> FindOutcome:
        return Paid(self.ids[order.reference]) if order.reference in self.ids else NotFound()


class ChangesItsIds(GoodBank):
    async def find(self, order: PayoutOrder, *, compare_all: bool = False) -> FindOutcome:
        found = await super().find(order)
        return Paid(found.payout_id + "x") if isinstance(found, Paid) else found


class ListsNothing(GoodBank):
    def enter(self, order: PayoutOrder) -> None:
        return None


class ListsTwice(GoodBank):
    def enter(self, order: PayoutOrder) -> None:
        super().enter(order)
        self.entries.append(replace(self.entries[-1], payout_id=self.entries[-1].payout_id + "b"))


class ListsAnotherAmount(GoodBank):
    def enter(self, order: PayoutOrder) -> None:
        super().enter(replace(order, amount=order.amount * 1000))


class TakesAnyCursor(GoodBank):
    async def read_books(self, after: str | None) -> BooksPage:
        try:
            return await super().read_books(after)
        except CursorUnknown:
            return BooksPage([], after, more=False)


class ListsNonsense(GoodBank):
    async def read_books(self, after: str | None) -> BooksPage:
        page = await super().read_books(after)
        return replace(page, passed_over=("po_7: unknown status 'frozen'",))


class Raises(GoodBank):
    async def pay(self, order: PayoutOrder) -> PayOutcome:
        raise KeyError("a bug")


class NeverSaysAWord(GoodBank):
    async def pay(self, order: PayoutOrder) -> PayOutcome:
        self.book(order)
        return OutcomeUnknown("timeout")

    async def find(self, order: PayoutOrder, *, compare_all: bool = False) -> FindOutcome:
        return OutcomeUnknown("timeout")


async def checked(bank: GoodBank, scope: Scope = SCOPE) -> dict[str, Check]:
    """The checks by name."""
    return {check.name: check async for check in Conformance(bank, scope).checks()}


async def test_a_good_bank_passes() -> None:
    """Goal: a bank that does what it must fails nothing; what only the simulator can do is not tried."""
    checks = await checked(GoodBank())
    assert not [check for check in checks.values() if check.passed is False]
    assert sum(bool(check.passed) for check in checks.values()) == 9


async def test_nothing_is_ordered_unasked() -> None:
    """Goal: a check that may not pay reads, and orders nothing."""
    bank = GoodBank()
    checks = await checked(bank, Scope("USD"))
    assert sum(bool(check.passed) for check in checks.values()) == 3
    assert not bank.orders


@pytest.mark.parametrize(
    ("bank", "failed"),
    [
        (PaysTwice, "sent again, also at once, it is paid once"),
        (PaysWhateverIsAsked, "the reference with another amount is no second payout"),
        (ForgetsWhatItPaid, "a look-up tells the same payout"),
        (KnowsWhatNobodyOrdered, "a reference that was never used is not found"),
        (ComparesNothing, "a look-up of another order settles nothing"),
        (ChangesItsIds, "a look-up tells the same payout"),
        (ListsNothing, "each payout is in the books, once"),
        (ListsTwice, "each payout is in the books, once"),
        (ListsAnotherAmount, "each payout is in the books, once"),
        (TakesAnyCursor, "a cursor that is none is refused"),
        (ListsNonsense, "the books can be read, page by page"),
        (Raises, "an order is paid"),
        (NeverSaysAWord, "an order is paid"),
    ],
)
async def test_a_bad_bank_fails(bank: Callable[[], GoodBank], failed: str) -> None:
    """Goal: each thing that a bank must do is missed by name, in the check that is about it."""
    checks = await checked(bank())
    assert checks[failed].passed is False, checks

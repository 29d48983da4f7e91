"""The rules that any bank module must keep, on banks that break each of them in one way."""

import asyncio
import dataclasses
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from msgspec.structs import replace

from actors.bank.conformance import Check, Conformance
from actors.bank.protocol import BOOKS_PAGE_ENTRIES_MAX, BooksPage, CursorUnknown, PayoutOrder
from actors.bank.rules_of_books import SLACK_S
from actors.bank.trial import Scope
from tests.in_memory_bank import InMemoryBank
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

SCOPE = Scope("USD", pays=True, simulates=True, patience_s=5.0, later_ms=50, pause_s=0.01, call_s_max=0.1)
HASTY = dataclasses.replace(SCOPE, patience_s=0.3)
"""For banks that keep a rule never: waiting does not help."""


class PaysTwice(InMemoryBank):
    async def pay(self, order: PayoutOrder) -> PayOutcome:
        self.take(order)
        return Paid(self.ids[order.reference])


class PaysTwiceAtOnce(InMemoryBank):
    """Looks whether it knows an order, and takes it some time later."""

    async def pay(self, order: PayoutOrder) -> PayOutcome:
        if order.reference not in self.orders:
            await asyncio.sleep(0)
            self.take(order)
            return Paid(self.ids[order.reference])
        return await super().pay(order)


class PaysWhateverIsAsked(InMemoryBank):
    async def pay(self, order: PayoutOrder) -> PayOutcome:
        return await super().pay(self.orders.get(order.reference, order))


class TakesEqualOrdersForOne(InMemoryBank):
    """Knows an order by its amount and destination."""

    def new_id(self, order: PayoutOrder) -> str:
        same = [
            known
            for known in self.orders.values()
            if replace(known, reference="") == replace(order, reference="")
        ]
        return next(
            (self.ids[one.reference] for one in same if one.reference in self.ids), ""
        ) or super().new_id(order)

    def enter(self, order: PayoutOrder) -> None:
        if list(self.ids.values()).count(self.ids[order.reference]) == 1:
            super().enter(order)


class PaysNobody(InMemoryBank):
    async def pay(self, order: PayoutOrder) -> PayOutcome:
        return Declined("account_closed")


class ForgetsWhatItPaid(InMemoryBank):
    async def find(self, order: PayoutOrder, *, compare_all: bool = False) -> FindOutcome:
        return NotFound()


class KnowsWhatNobodyOrdered(InMemoryBank):
    async def find(self, order: PayoutOrder, *, compare_all: bool = False) -> FindOutcome:
        return Paid(self.ids.get(order.reference, "po_x"))


class ReadsReferencesLoosely(InMemoryBank):
    async def find(self, order: PayoutOrder, *, compare_all: bool = False) -> FindOutcome:
        return await super().find(replace(order, reference=order.reference.lower()), compare_all=compare_all)


class ComparesNothing(InMemoryBank):
    async def find(self, order: PayoutOrder, *, compare_all: bool = False) -> FindOutcome:
        return await super().find(self.orders.get(order.reference, order))


class ChangesItsIds(InMemoryBank):
    async def find(self, order: PayoutOrder, *, compare_all: bool = False) -> FindOutcome:
        found = await super().find(order)
        return Paid(found.payout_id + "x") if isinstance(found, Paid) else found


class ListsNothing(InMemoryBank):
    def enter(self, order: PayoutOrder) -> None:
        return None


class ListsTwice(InMemoryBank):
    def enter(self, order: PayoutOrder) -> None:
        super().enter(order)
        self.entries.append(replace(self.entries[-1], payout_id=self.entries[-1].payout_id + "b"))


class ListsAnotherAmount(InMemoryBank):
    def enter(self, order: PayoutOrder) -> None:
        super().enter(replace(order, amount=order.amount + 1))


class ListsAnotherCurrency(InMemoryBank):
    def enter(self, order: PayoutOrder) -> None:
        super().enter(replace(order, currency="EUR"))


class CountsInFloats(InMemoryBank):
    def enter(self, order: PayoutOrder) -> None:
        super().enter(replace(order, amount=int(float(order.amount))))


class FindsInFloats(InMemoryBank):
    async def find(self, order: PayoutOrder, *, compare_all: bool = False) -> FindOutcome:
        if int(float(order.amount)) != order.amount:
            return OutcomeUnknown("wrong amount in the reply")
        return await super().find(order, compare_all=compare_all)


class ListsTheLastLast(InMemoryBank):
    """New entries come before the last one: a reader at the end never sees them."""

    def enter(self, order: PayoutOrder) -> None:
        super().enter(order)
        self.entries[-2:] = reversed(self.entries[-2:])


class ListsAtRandom(InMemoryBank):
    async def read_books(self, after: str | None) -> BooksPage:
        page = await super().read_books(after)
        self.entries.reverse()
        return page


class RepeatsTheLastEntry(InMemoryBank):
    async def read_books(self, after: str | None) -> BooksPage:
        page = await super().read_books(after)
        last = [entry for entry in self.entries if entry.payout_id == after]
        return replace(page, entries=last + page.entries)


class NeverEnds(InMemoryBank):
    async def read_books(self, after: str | None) -> BooksPage:
        return replace(await super().read_books(after), more=True)


class TakesAnyCursor(InMemoryBank):
    async def read_books(self, after: str | None) -> BooksPage:
        try:
            return await super().read_books(after)
        except CursorUnknown:
            return BooksPage([], after, more=False)


class ListsNonsense(InMemoryBank):
    async def read_books(self, after: str | None) -> BooksPage:
        page = await super().read_books(after)
        return replace(page, passed_over=("po_7: unknown status 'frozen'",))


class ListsTooMuchAtOnce(InMemoryBank):
    async def read_books(self, after: str | None) -> BooksPage:
        page = await super().read_books(after)
        if not page.entries:
            return page
        more = [
            replace(page.entries[0], payout_id=f"x{n}", reference=f"x{n}")
            for n in range(BOOKS_PAGE_ENTRIES_MAX)
        ]
        return replace(page, entries=more + page.entries)


class HasLongIds(InMemoryBank):
    def new_id(self, order: PayoutOrder) -> str:
        return super().new_id(order) + "x" * 255


class HasInvisibleIds(InMemoryBank):
    def new_id(self, order: PayoutOrder) -> str:
        return super().new_id(order) + "\0"


class TakesItsTime(InMemoryBank):
    _took_it = False

    async def find(self, order: PayoutOrder, *, compare_all: bool = False) -> FindOutcome:
        if not self._took_it:
            self._took_it = True
            with suppress(TimeoutError):
                async with asyncio.timeout(SCOPE.call_s_max + SLACK_S + 0.1):
                    await asyncio.Event().wait()
        return await super().find(order, compare_all=compare_all)


class Raises(InMemoryBank):
    async def pay(self, order: PayoutOrder) -> PayOutcome:
        raise KeyError("a bug")


class NeverSaysAWord(InMemoryBank):
    async def pay(self, order: PayoutOrder) -> PayOutcome:
        await super().pay(order)
        return OutcomeUnknown("timeout")

    async def find(self, order: PayoutOrder, *, compare_all: bool = False) -> FindOutcome:
        return OutcomeUnknown("timeout")


class Changed(InMemoryBank):
    """Says something else where a test destination is concerned."""

    kind = ""

    async def pay(self, order: PayoutOrder) -> PayOutcome:
        outcome = await super().pay(order)
        return self.instead(outcome) if self._is_meant(order) else outcome  # type: ignore[return-value]

    async def find(self, order: PayoutOrder, *, compare_all: bool = False) -> FindOutcome:
        outcome = await super().find(order, compare_all=compare_all)
        return self.instead(outcome) if self._is_meant(order) else outcome

    def _is_meant(self, order: PayoutOrder) -> bool:
        return f'"test:{self.kind}' in (order.destination or "")

    def instead(self, outcome: FindOutcome) -> FindOutcome:
        return outcome


class PaysWhatItDeclined(Changed):
    kind = "decline"
    _told = False

    def instead(self, outcome: FindOutcome) -> FindOutcome:
        was_told, self._told = self._told, True
        return Paid("po_y") if was_told else outcome


class SaysPaidTooSoon(Changed):
    kind = "pending:"

    def instead(self, outcome: FindOutcome) -> FindOutcome:
        return Paid("po_z") if isinstance(outcome, Accepted) else outcome


class KeepsAnotherId(Changed):
    kind = "pending:"

    def instead(self, outcome: FindOutcome) -> FindOutcome:
        return Accepted("po_other") if isinstance(outcome, Accepted) else outcome


class ForgetsThatItDeclines(Changed):
    kind = "pending-decline"

    def instead(self, outcome: FindOutcome) -> FindOutcome:
        return Accepted() if isinstance(outcome, Declined) else outcome


class LosesThePayout(Changed):
    kind = "lost_reply"

    def instead(self, outcome: FindOutcome) -> FindOutcome:
        return OutcomeUnknown("timeout")


class HangsForEver(Changed):
    kind = "hang"

    def instead(self, outcome: FindOutcome) -> FindOutcome:
        return Declined("too_late")


class KeepsTheReturn(Changed):
    kind = "return"

    def instead(self, outcome: FindOutcome) -> FindOutcome:
        return Paid(outcome.payout_id) if isinstance(outcome, Returned) else outcome


class ReturnsAllOfAPart(Changed):
    kind = "partial-return"

    def instead(self, outcome: FindOutcome) -> FindOutcome:
        return Returned(outcome.payout_id, 3) if isinstance(outcome, Returned) else outcome


class HidesTheDecline(Changed):
    kind = "late-decline"

    def instead(self, outcome: FindOutcome) -> FindOutcome:
        return Paid("po_x") if isinstance(outcome, Declined) else outcome


BROKEN: list[tuple[type[InMemoryBank], str]] = [
    (ListsNonsense, "the books can be read, page by page"),
    (NeverEnds, "the books can be read, page by page"),
    (ListsAtRandom, "the books tell the same when they are read again"),
    (RepeatsTheLastEntry, "the books tell the same when they are read again"),
    (TakesAnyCursor, "a cursor that is none is refused"),
    (KnowsWhatNobodyOrdered, "a reference that was never used is not found"),
    (Raises, "an order is paid"),
    (NeverSaysAWord, "an order is paid"),
    (PaysNobody, "an order is paid"),
    (PaysTwice, "sent again it is the same payout"),
    (PaysTwiceAtOnce, "sent many times at once it is one payout"),
    (ForgetsWhatItPaid, "a look-up tells the same payout"),
    (ChangesItsIds, "a look-up tells the same payout"),
    (ReadsReferencesLoosely, "a reference counts to the letter"),
    (PaysWhateverIsAsked, "the reference with another amount is no second payout"),
    (ComparesNothing, "a look-up of another order settles nothing"),
    (TakesEqualOrdersForOne, "an equal order under another reference is another payout"),
    (FindsInFloats, "a large amount is paid to the minor unit"),
    (PaysWhatItDeclined, "a declined order stays declined"),
    (SaysPaidTooSoon, "a pending order is accepted, and paid later"),
    (KeepsAnotherId, "a pending order is accepted, and paid later"),
    (ForgetsThatItDeclines, "a pending order may be declined later"),
    (LosesThePayout, "an order whose reply is lost is paid once"),
    (HangsForEver, "an order that is never answered is paid once"),
    (KeepsTheReturn, "money that comes back is told, whole or in part"),
    (ReturnsAllOfAPart, "money that comes back is told, whole or in part"),
    (HidesTheDecline, "what is declined after it was paid is told"),
    (ListsNothing, "each payout is in the books, once"),
    (ListsTwice, "each payout is in the books, once"),
    (ListsAnotherAmount, "the books tell what was ordered, to the minor unit"),
    (ListsAnotherCurrency, "the books tell what was ordered, to the minor unit"),
    (CountsInFloats, "the books tell what was ordered, to the minor unit"),
    (ListsTheLastLast, "what is entered later stands behind what was read"),
    (ListsTooMuchAtOnce, "words and pages are bounded"),
    (HasLongIds, "words and pages are bounded"),
    (HasInvisibleIds, "words and pages are bounded"),
    (TakesItsTime, "every call ends in time"),
]


async def checked(bank: InMemoryBank, scope: Scope = SCOPE) -> dict[str, Check]:
    """The checks by name, of a bank that has paid others before."""
    for number in range(7):
        bank.take(PayoutOrder(f"before-{number}", 100 + number, "USD"))
    return {check.name: check async for check in Conformance(bank, scope).checks()}


async def test_a_good_bank_passes() -> None:
    """Goal: a bank that does what it must keeps every rule."""
    checks = await checked(InMemoryBank())
    assert not [check for check in checks.values() if not check.passed]


async def test_what_only_the_simulator_can_do_is_not_tried() -> None:
    """Goal: another bank is asked for four payouts and no test destination."""
    bank = InMemoryBank()
    checks = await checked(bank, Scope("USD", pays=True, patience_s=0.5))
    assert not [check for check in checks.values() if check.passed is False]
    assert sum(check.passed is None for check in checks.values()) == 8
    assert len(bank.entries) == 7 + 4
    assert not [order for order in bank.orders.values() if "test:" in (order.destination or "")]


async def test_nothing_is_ordered_unasked() -> None:
    """Goal: a check that may not pay reads, and orders nothing."""
    bank = InMemoryBank()
    checks = await checked(bank, Scope("USD"))
    assert sum(bool(check.passed) for check in checks.values()) == 6
    assert len(bank.orders) == 7


@pytest.mark.parametrize(("bank", "failed"), BROKEN)
async def test_a_broken_bank_fails(bank: Callable[[], InMemoryBank], failed: str) -> None:
    """Goal: each thing that a bank must do is missed by name, in the rule that is about it."""
    checks = await checked(bank(), SCOPE if bank is TakesItsTime else HASTY)
    assert checks[failed].passed is False, checks


def test_every_rule_can_fail() -> None:
    """Goal: for each rule there is a bank that breaks it."""
    rules: list[Any] = Conformance(InMemoryBank(), SCOPE).rules
    assert {rule.name for rule in rules} == {name for _, name in BROKEN}

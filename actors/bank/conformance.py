"""What any bank module must do for us, tried on the bank itself: `wbs bank check`.

A bank that fails one of these would sooner or later pay twice, or somebody not at all. The checks know the bank by its
protocol alone. Reading ones change nothing. Paying ones order payouts of a few minor units under references of their
own. The simulator's test destinations (`test:…`) make a bank decline, wait, lose replies and send money back; on other
banks those checks are not tried.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from time import monotonic

from msgspec.structs import replace

from actors.bank.protocol import Bank, BookEntry, BooksUnreadable, CursorUnknown, PayoutOrder
from actors.bank.trial import PAUSE_S, Failed, NotTried, Scope, Trial
from wallet.outcomes import CHECK_PREFIX, BankUnavailable, Declined, NotFound, OutcomeUnknown, Paid, Returned

AT_ONCE = 8
REPEATS = 4
"""Of calls that must say nothing, so that a reply which is lost just then is not taken for it."""

PAGES_MAX = 5
"""Pages of the books that are read where the whole is not needed."""

LATER_MS = 500
CODE = "insufficient_details"


@dataclass(frozen=True, slots=True)
class Check:
    """A check and how it ended: True passed, False failed, None not tried."""

    name: str
    passed: bool | None
    detail: str


class Conformance:
    """All checks, in order, on one bank."""

    def __init__(self, bank: Bank, scope: Scope) -> None:
        self._bank = bank
        self._scope = scope
        self._trial = Trial(bank, scope)
        self._first: tuple[PayoutOrder, str] | None = None

    async def checks(self) -> AsyncIterator[Check]:
        """Make the checks, one after the other. Nothing that a bank does raises."""
        for name, may, check in self._all():
            yield await self._made(name, may, check)

    def _all(self) -> list[tuple[str, str, Callable[[], Awaitable[str]]]]:
        return [
            ("a reference that was never used is not found", "", self._unknown_is_not_found),
            ("the books can be read, page by page", "", self._books_can_be_read),
            ("a cursor that is none is refused", "", self._bad_cursor_is_refused),
            ("an order is paid", "pays", self._is_paid),
            ("sent again, also at once, it is paid once", "pays", self._is_paid_once),
            ("a look-up tells the same payout", "pays", self._is_found),
            ("the reference with another amount is no second payout", "pays", self._conflicts),
            ("a look-up of another order settles nothing", "pays", self._compares),
            ("a declined order stays declined", "simulates", self._declines),
            ("a pending order is accepted, and paid later", "simulates", self._pending_is_paid),
            ("a pending order may be declined later", "simulates", self._pending_is_declined),
            ("an order whose reply is lost is paid once", "simulates", self._lost_reply),
            ("an order that is never answered is paid once", "simulates", self._hang),
            ("money that comes back is told, whole or in part", "simulates", self._comes_back),
            ("what is declined after it was paid is told", "simulates", self._late_decline),
            ("each payout is in the books, once", "pays", self._books_are_whole),
        ]

    async def _made(self, name: str, may: str, check: Callable[[], Awaitable[str]]) -> Check:
        if may and not self._scope.pays:
            return Check(name, None, "it would order payouts")
        if may == "simulates" and not self._scope.simulates:
            return Check(name, None, "only the simulator has test destinations")
        try:
            async with asyncio.timeout(2 * self._scope.patience_s):
                return Check(name, True, await check())
        except NotTried as reason:
            return Check(name, None, str(reason))
        except (Failed, BooksUnreadable) as error:
            return Check(name, False, str(error))
        except TimeoutError:
            return Check(name, False, "it does not end")
        except Exception as error:  # noqa: BLE001  # whatever a module of a stranger does is a result
            return Check(name, False, f"the module raised {type(error).__name__}: {error}")

    # --- Reading ---

    async def _unknown_is_not_found(self) -> str:
        found = await self._trial.look_up(self._trial.order())
        if not isinstance(found, NotFound):
            raise Failed(f"a look-up of it answers {found}")
        return "404, which means: not yet"

    async def _books_can_be_read(self) -> str:
        entries, seen = 0, set()
        cursor, more, pages = None, True, 0
        while more and pages < PAGES_MAX:
            page = await self._bank.read_books(cursor)
            if page.passed_over:
                raise Failed(f"an entry can't be understood: {page.passed_over[0]}")
            entries += len(page.entries)
            seen |= {entry.payout_id for entry in page.entries}
            cursor, more, pages = page.cursor, page.more, pages + 1
        if len(seen) < entries:
            raise Failed(f"{entries} entries have {len(seen)} payout ids")
        return f"{entries:,} entries read" + (", not all" if more else "")

    async def _bad_cursor_is_refused(self) -> str:
        try:
            page = await self._bank.read_books(f"{CHECK_PREFIX}no-such-cursor")
        except CursorUnknown:
            return "as a cursor of other books"
        raise Failed(f"it is answered with {len(page.entries)} entries: a reader would miss the others")

    # --- Paying ---

    async def _is_paid(self) -> str:
        await self._trial.begin()
        order = self._trial.order(destination={"name": "wbs bank check", "purpose": 1.5})
        payout_id = await self._trial.pays(order)
        self._first = order, payout_id
        return f"{order.amount} {order.currency} as {payout_id}"

    async def _is_paid_once(self) -> str:
        order, payout_id = self._paid_first()
        again = await self._trial.pays(order)
        if again != payout_id:
            raise Failed(f"paid as {payout_id}, sent again as {again}")
        fresh = self._trial.order()
        ids = set(await asyncio.gather(*(self._trial.pays(fresh) for _ in range(AT_ONCE))))
        if len(ids) > 1:
            raise Failed(f"{AT_ONCE} at once are {len(ids)} payouts: {', '.join(sorted(ids))}")
        return f"one after the other, and {AT_ONCE} at once"

    async def _is_found(self) -> str:
        order, payout_id = self._paid_first()
        found = await self._trial.look_up(order)
        if found != Paid(payout_id):
            raise Failed(f"paid as {payout_id}, a look-up answers {found}")
        return payout_id

    async def _conflicts(self) -> str:
        order, payout_id = self._paid_first()
        more = replace(order, amount=order.amount + 1)
        for _ in range(REPEATS):
            answer = await self._trial.said(lambda: self._bank.pay(more), BankUnavailable)
            if not isinstance(answer, OutcomeUnknown | BankUnavailable):
                raise Failed(f"{more.amount} under the reference of {order.amount} is answered {answer}")
        found = await self._trial.look_up(order)
        if found != Paid(payout_id):
            raise Failed(f"after it a look-up answers {found}")
        return "the first payout stands"

    async def _compares(self) -> str:
        order, _ = self._paid_first()
        others = {
            "amount": replace(order, amount=order.amount + 1),
            "currency": replace(order, currency="XTS"),
            "destination": replace(order, destination='"elsewhere"'),
        }
        for name, other in others.items():
            for _ in range(REPEATS):
                found = await self._bank.find(other, compare_all=True)
                if not isinstance(found, OutcomeUnknown | BankUnavailable):
                    raise Failed(f"with another {name} it answers {found}")
        return "amount, currency and destination are compared"

    # --- With test destinations ---

    async def _declines(self) -> str:
        order = self._trial.order(destination=f"test:decline:{CODE}")
        for what, outcome in (
            ("the order", await self._trial.settled(order)),
            ("the order again", await self._trial.settled(order)),
            ("a look-up", await self._trial.look_up(order)),
        ):
            if outcome != Declined(CODE):
                raise Failed(f"{what} is answered {outcome}")
        return CODE

    async def _pending_is_paid(self) -> str:
        order, accepted = await self._trial.accepted(f"test:pending:{LATER_MS}")
        paid = await self._trial.becomes(order, Paid)
        assert isinstance(paid, Paid)
        self._trial.paid[order.reference] = paid.payout_id
        if accepted.payout_id not in (None, paid.payout_id):
            raise Failed(f"accepted as {accepted.payout_id}, paid as {paid.payout_id}")
        return paid.payout_id

    async def _pending_is_declined(self) -> str:
        order, _ = await self._trial.accepted(f"test:pending-decline:{LATER_MS}:{CODE}")
        return self._code(await self._trial.becomes(order, Declined))

    async def _lost_reply(self) -> str:
        return await self._trial.pays(self._trial.order(destination="test:lost_reply"))

    async def _hang(self) -> str:
        return await self._trial.pays(self._trial.order(destination="test:hang"))

    async def _comes_back(self) -> str:
        whole = self._trial.order(destination="test:return:0", amount=3)
        part = self._trial.order(destination="test:partial-return:1:0", amount=3)
        for order, amount in ((whole, 3), (part, 1)):
            paid = await self._trial.settled(order)
            returned = await self._trial.becomes(order, Returned)
            if isinstance(paid, Paid | Returned) and returned != Returned(paid.payout_id, amount):
                raise Failed(f"{amount} of {order.amount} is told as {returned}, of {paid}")
            assert isinstance(returned, Returned)
            self._trial.paid[order.reference] = returned.payout_id
        return "3 of 3, 1 of 3"

    async def _late_decline(self) -> str:
        order = self._trial.order(destination=f"test:late-decline:{LATER_MS}:{CODE}")
        paid = await self._trial.settled(order)
        if not isinstance(paid, Paid | Declined):
            raise Failed(f"it is answered {paid}")
        return self._code(await self._trial.becomes(order, Declined))

    # --- The books, after all of that ---

    async def _books_are_whole(self) -> str:
        self._paid_first()
        give_up_at = monotonic() + self._scope.patience_s
        while True:
            ours = await self._trial.entries()
            missing = set(self._trial.paid) - {entry.reference for entry in ours}
            if not missing or monotonic() > give_up_at:
                break
            await asyncio.sleep(PAUSE_S)
        if missing:
            raise Failed(f"paid, and not in the books: {', '.join(sorted(missing))}")
        for entry in ours:
            self._is_right(entry)
        if len({entry.reference for entry in ours}) < len(ours):
            raise Failed("a payout of ours is there twice")
        return f"{len(self._trial.paid)} payouts"

    def _is_right(self, entry: BookEntry) -> None:
        expected = self._trial.paid.get(entry.reference)
        if entry.is_paid and expected is None:
            raise Failed(f"{entry.reference} was not paid, and is {entry.status} in the books")
        if entry.is_paid and entry.payout_id != expected:
            raise Failed(f"{entry.reference} was paid as {expected}, and is {entry.payout_id} in the books")
        if entry.currency != self._scope.currency or not 0 < entry.amount <= max(3, self._scope.amount):
            raise Failed(f"{entry.reference} is {entry.amount} {entry.currency} in the books")

    def _paid_first(self) -> tuple[PayoutOrder, str]:
        if self._first is None:
            raise NotTried("no order was paid")
        return self._first

    @staticmethod
    def _code(declined: object) -> str:
        if declined != Declined(CODE):
            raise Failed(f"it is {declined}")
        return CODE

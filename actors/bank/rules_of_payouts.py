"""Rules about orders and look-ups that can be tried on any bank, with a few minor units."""

import asyncio

from msgspec.structs import replace

from actors.bank.rules import Needs, Rule
from actors.bank.trial import Failed, Trial
from wallet.outcomes import BankUnavailable, NotFound, OutcomeUnknown, Paid

AT_ONCE = 8
REPEATS = 4
"""Number of times to repeat a call that must settle nothing, so that a lost reply does not pass for that."""


class PayoutRules:
    """Rules for one order sent again and again, for orders that resemble it, and for another order."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._bank = trial.bank

    def rules(self) -> list[Rule]:
        """Return the rules, in order."""
        return [
            Rule("a reference that was never used is not found", Needs.NOTHING, self._unknown_is_not_found),
            Rule("an order is paid", Needs.PAYOUTS, self._is_paid),
            Rule("sent again it is the same payout", Needs.PAYOUTS, self._is_idempotent),
            Rule("sent many times at once it is one payout", Needs.PAYOUTS, self._is_paid_once),
            Rule("a look-up tells the same payout", Needs.PAYOUTS, self._is_found),
            Rule("a reference counts to the letter", Needs.PAYOUTS, self._is_taken_to_the_letter),
            Rule("the reference with another amount is no second payout", Needs.PAYOUTS, self._conflicts),
            Rule("a look-up of another order settles nothing", Needs.PAYOUTS, self._compares),
            Rule("an equal order under another reference is another payout", Needs.PAYOUTS, self._is_another),
        ]

    async def _unknown_is_not_found(self) -> str:
        found = await self._trial.look_up(self._trial.order())
        if not isinstance(found, NotFound):
            raise Failed(f"a look-up of it answers {found}")
        return "which means: not yet"

    async def _is_paid(self) -> str:
        await self._trial.begin()
        order = self._trial.order(destination={"name": "wbs bank check", "purpose": 1.5})
        payout_id = await self._trial.pays(order)
        self._trial.first = order, payout_id
        return f"{order.amount} {order.currency} as {payout_id}"

    async def _is_idempotent(self) -> str:
        order, payout_id = self._trial.paid_first()
        again = await self._trial.pays(order)
        if again != payout_id:
            self._trial.paid[order.reference] = payout_id
            raise Failed(f"paid as {payout_id}, sent again as {again}")
        return payout_id

    async def _is_paid_once(self) -> str:
        self._trial.paid_first()
        fresh = self._trial.order()
        ids = set(await asyncio.gather(*(self._trial.pays(fresh) for _ in range(AT_ONCE))))
        if len(ids) > 1:
            raise Failed(f"{AT_ONCE} at once are {len(ids)} payouts: {', '.join(sorted(ids))}")
        return f"{AT_ONCE} at once are {ids.pop()}"

    async def _is_found(self) -> str:
        order, payout_id = self._trial.paid_first()
        found = await self._trial.look_up(order)
        if found != Paid(payout_id):
            raise Failed(f"paid as {payout_id}, a look-up answers {found}")
        return payout_id

    async def _is_taken_to_the_letter(self) -> str:
        order, _ = self._trial.paid_first()
        for reference in (order.reference[:-1], order.reference + "0", order.reference.upper()):
            found = await self._trial.look_up(replace(order, reference=reference))
            if not isinstance(found, NotFound | OutcomeUnknown | BankUnavailable):
                raise Failed(f"a look-up of {reference} answers {found}: that is {order.reference}")
        return "what resembles it is not found"

    async def _conflicts(self) -> str:
        order, payout_id = self._trial.paid_first()
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
        order, _ = self._trial.paid_first()
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

    async def _is_another(self) -> str:
        order, payout_id = self._trial.paid_first()
        equal = replace(order, reference=self._trial.order().reference)
        self._trial.orders[equal.reference] = equal
        another = await self._trial.pays(equal)
        if another == payout_id:
            raise Failed(f"both are {another}: somebody would not be paid")
        return another

"""Rules that need test destinations: the simulator shows behaviour that is rare at a bank or to its disadvantage."""

from actors.bank.rules import Needs, Rule
from actors.bank.trial import Failed, Trial
from wallet.outcomes import Declined, Paid, Returned

CODE = "insufficient_details"
LARGE = 2**53 + 1
"""An amount that no floating-point number holds."""


class SimulatorRules:
    """Rules for declines, payouts that are settled later, lost replies, and returned money."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._later_ms = trial.scope.later_ms

    def rules(self) -> list[Rule]:
        """Return the rules, in order."""
        return [
            Rule("a large amount is paid to the minor unit", Needs.SIMULATOR, self._large),
            Rule("a declined order stays declined", Needs.SIMULATOR, self._declines),
            Rule("a pending order is accepted, and paid later", Needs.SIMULATOR, self._pending_is_paid),
            Rule("a pending order may be declined later", Needs.SIMULATOR, self._pending_is_declined),
            Rule("an order whose reply is lost is paid once", Needs.SIMULATOR, self._lost_reply),
            Rule("an order that is never answered is paid once", Needs.SIMULATOR, self._hang),
            Rule("money that comes back is told, whole or in part", Needs.SIMULATOR, self._comes_back),
            Rule("what is declined after it was paid is told", Needs.SIMULATOR, self._late_decline),
        ]

    async def _large(self) -> str:
        order = self._trial.order(amount=LARGE)
        await self._trial.pays(order)
        await self._trial.becomes(order, Paid)
        return f"{LARGE}"

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
        order, accepted = await self._trial.accepted(f"test:pending:{self._later_ms}")
        paid = await self._trial.becomes(order, Paid)
        self._trial.paid[order.reference] = paid.payout_id
        if accepted.payout_id not in (None, paid.payout_id):
            raise Failed(f"accepted as {accepted.payout_id}, paid as {paid.payout_id}")
        return paid.payout_id

    async def _pending_is_declined(self) -> str:
        order, _ = await self._trial.accepted(f"test:pending-decline:{self._later_ms}:{CODE}")
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
            self._trial.paid[order.reference] = returned.payout_id
        return "3 of 3, 1 of 3"

    async def _late_decline(self) -> str:
        order = self._trial.order(destination=f"test:late-decline:{self._later_ms}:{CODE}")
        paid = await self._trial.settled(order)
        if not isinstance(paid, Paid | Declined):
            raise Failed(f"it is answered {paid}")
        return self._code(await self._trial.becomes(order, Declined))

    @staticmethod
    def _code(declined: object) -> str:
        if declined != Declined(CODE):
            raise Failed(f"it is {declined}")
        return CODE

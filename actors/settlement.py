"""One round of bank calls for one withdrawal: try, ask, try again, within a deadline. Writes nothing down.

What follows from a round's outcome, and when the next round comes, is decided in `wallet.settle`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from tenacity import AsyncRetrying, retry_if_result, stop_after_attempt, wait_random_exponential

from actors.bank.protocol import Bank, PayoutOrder
from wallet.config import Settings
from wallet.outcomes import BankUnavailable, FindOutcome, NotFound, OutcomeUnknown, RoundOutcome
from wallet.telemetry import BANK_RETRIES


@dataclass(frozen=True, slots=True)
class RoundLimits:
    """What one round may take: calls, seconds between them (exponential, full jitter), seconds in all."""

    tries: int
    delay_min_s: float
    delay_max_s: float
    deadline_s: float

    @classmethod
    def of(cls, settings: Settings) -> "RoundLimits":
        """Return the limits that the settings give."""
        return cls(
            tries=settings.bank_tries,
            delay_min_s=settings.bank_try_delay_ms_min / 1000,
            delay_max_s=settings.bank_try_delay_ms_max / 1000,
            deadline_s=settings.round_deadline_ms / 1000,
        )


def _always() -> bool:
    return True


async def run_round(
    bank: Bank,
    order: PayoutOrder,
    limits: RoundLimits,
    *,
    ask_first: bool,
    may_retry: Callable[[], bool] = _always,
) -> RoundOutcome:
    """Try to have `order` paid and return how that ended.

    `ask_first`: an earlier round may have reached the bank, so look before paying. `may_retry` is asked
    before each further try (a circuit that has opened meanwhile ends the round early). Cancelled in the
    middle, the round raises `CancelledError`, and the outcome is unknown to whoever cancelled it.
    """
    payout_round = _Round(bank, order, ask_first)

    def wants_another(outcome: RoundOutcome) -> bool:
        return isinstance(outcome, BankUnavailable | OutcomeUnknown) and may_retry()

    # Nearly every round ends with its first try. Its two calls at most have timeouts of their own, and the
    # lease outlasts them (Settings.check); tenacity and the deadline would be a sixth of a payout's cost.
    started = monotonic()
    first: RoundOutcome | None = await payout_round.try_once()
    if not wants_another(payout_round.outcome):
        return payout_round.outcome

    async def next_try() -> RoundOutcome:
        nonlocal first
        if first is None:
            return await payout_round.try_once()
        known, first = first, None
        return known

    retrying = AsyncRetrying(
        retry=retry_if_result(wants_another),
        stop=stop_after_attempt(limits.tries),
        wait=wait_random_exponential(multiplier=limits.delay_min_s, max=limits.delay_max_s),
        retry_error_callback=lambda _: payout_round.outcome,  # the tries are used up: the last word counts
    )
    try:
        async with asyncio.timeout(limits.deadline_s - (monotonic() - started)):
            await retrying(next_try)
    except TimeoutError:
        pass  # the deadline: `outcome` tells whether a call was cut off
    return payout_round.outcome


class _Round:
    """The tries of one round, and what is known after each."""

    def __init__(self, bank: Bank, order: PayoutOrder, ask_first: bool) -> None:
        self.outcome: RoundOutcome = BankUnavailable("not tried")
        """What is known at this moment, also if the round is cut off here."""
        self._bank = bank
        self._order = order
        self._ask_first = ask_first
        self._tries = 0

    async def try_once(self) -> RoundOutcome:
        self._tries += 1
        if self._tries > 1:
            BANK_RETRIES.inc()
        if self._ask_first:
            found = await self._bank.find(self._order)
            if not isinstance(found, NotFound):
                return self._learn(found)
            # Not found means *not yet*: the order may still be on its way. Sending it again under the same
            # key is safe in either case; giving the money back would not be.
        before = self.outcome
        self.outcome = OutcomeUnknown("cut off in the middle of the call")
        answer = await self._bank.pay(self._order)
        self.outcome = before
        if isinstance(answer, OutcomeUnknown):
            self._ask_first = True
        return self._learn(answer)

    def _learn(self, answer: FindOutcome) -> RoundOutcome:
        """Take in an answer. That the bank can't be reached now makes an unknown outcome no better known."""
        assert not isinstance(answer, NotFound)
        if not (isinstance(answer, BankUnavailable) and isinstance(self.outcome, OutcomeUnknown)):
            self.outcome = answer
        return self.outcome

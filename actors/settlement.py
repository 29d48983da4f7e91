"""One round of bank calls for one withdrawal: pay, look up, pay again, within a deadline. It records nothing.

`wallet.decide_transitions` decides the consequence of a round's outcome and the time of the next round.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from tenacity import AsyncRetrying, retry_if_result, stop_after_attempt, wait_random_exponential

from actors.bank.protocol import Bank, PayoutOrder
from runtime.settings import Settings
from runtime.telemetry import BANK_RETRIES
from wallet.outcomes import (
    BankUnavailable,
    Declined,
    FindOutcome,
    NotFound,
    OutcomeUnknown,
    Postponed,
    RoundOutcome,
    Unresolved,
)


@dataclass(frozen=True, slots=True)
class RoundLimits:
    """Limits of one round: calls, seconds between them (exponential, full jitter), seconds in all."""

    tries: int
    delay_min_s: float
    delay_max_s: float
    deadline_s: float
    call_s: float = 0.0
    """Longest time of one call."""
    key_window_s: float = 24 * 3600.0
    """Time after its first use for which an idempotency key can be relied upon."""
    our_codes: frozenset[str] = frozenset()
    """Codes of declines that are about us, not about the order."""

    @classmethod
    def of(cls, settings: Settings) -> "RoundLimits":
        """Return the limits that the settings give."""
        return cls(
            tries=settings.bank_tries,
            delay_min_s=settings.bank_try_delay_ms_min / 1000,
            delay_max_s=settings.bank_try_delay_ms_max / 1000,
            deadline_s=settings.round_deadline_ms / 1000,
            call_s=settings.bank_timeout_ms / 1000,
            key_window_s=settings.bank_key_window_h * 3600.0,
            our_codes=settings.our_decline_codes,
        )


@dataclass(frozen=True, slots=True)
class Before:
    """Our knowledge of an order before its round."""

    ask_first: bool = False
    """The bank may have the order already: look it up before paying."""
    accepted: bool = False
    """The bank said that it has the order: it is never sent again."""
    key_age_s: float = 0.0
    """Time since the first use of its idempotency key."""
    conflict: bool = False
    """The bank knows its reference with another body: only a look-up that repeats the whole order is believed."""


def _always() -> bool:
    return True


async def run_round(
    bank: Bank,
    order: PayoutOrder,
    limits: RoundLimits,
    before: Before,
    *,
    lease_ends_at: float | None = None,
    may_pay: Callable[[], bool] = _always,
    may_retry: Callable[[], bool] = _always,
) -> RoundOutcome:
    """Try to get `order` paid and return the outcome.

    No call begins that might outlast `lease_ends_at` (of the monotonic clock). `may_pay` is checked before the bank is
    asked to pay (payouts may have been paused), `may_retry` before each further try (if the circuit has opened
    meanwhile, the round ends early). If cancelled halfway, the round raises `CancelledError`, and the outcome is
    unknown to the caller.
    """
    payout_round = _Round(bank, order, limits, before, lease_ends_at, may_pay)

    def wants_another(outcome: RoundOutcome) -> bool:
        return (
            isinstance(outcome, BankUnavailable | OutcomeUnknown) and payout_round.has_time() and may_retry()
        )

    # Nearly every round ends with its first try. That is at most two calls, each with its own timeout, and the lease
    # outlasts them (Settings.check); tenacity and the deadline would add a sixth to a payout's cost.
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
        retry_error_callback=lambda _: payout_round.outcome,  # the tries are used up: the last outcome counts
    )
    try:
        async with asyncio.timeout(limits.deadline_s - (monotonic() - started)):
            await retrying(next_try)
    except TimeoutError:
        pass  # the deadline: `outcome` says whether a call was cut off
    return payout_round.outcome


class _Round:
    """The tries of one round, and the outcome after each."""

    def __init__(
        self,
        bank: Bank,
        order: PayoutOrder,
        limits: RoundLimits,
        before: Before,
        lease_ends_at: float | None,
        may_pay: Callable[[], bool],
    ) -> None:
        self.outcome: RoundOutcome = BankUnavailable("not tried")
        """The outcome so far, also valid if the round is cut off now."""
        self._bank = bank
        self._order = order
        self._limits = limits
        self._before = before
        self._lease_ends_at = lease_ends_at
        self._may_pay = may_pay
        self._ask_first = before.ask_first or before.accepted
        self._key_expires_at = monotonic() + limits.key_window_s - before.key_age_s
        self._conflict = before.conflict
        self._tries = 0

    def has_time(self) -> bool:
        """Return whether enough of the lease is left for a call: after the lease, another attempt may begin."""
        return self._lease_ends_at is None or monotonic() + self._limits.call_s <= self._lease_ends_at

    async def try_once(self) -> RoundOutcome:
        self._tries += 1
        if self._tries > 1:
            BANK_RETRIES.inc()
        if not self.has_time():
            return self._learn(BankUnavailable("the lease is nearly over"))
        if self._ask_first:
            found = await self._bank.find(self._order, compare_all=self._conflict)
            if not (isinstance(found, NotFound) or self._is_about_us(found)):
                return self._learn(found)
            # Not found means *not yet*: the order may still be on its way. In either case it is safe to send it again
            # under the same key, as long as the bank keeps keys; giving the money back would not be safe.
            forbidden = self._why_not_again()
            if forbidden is not None:
                self.outcome = forbidden
                return forbidden
        if not self._may_pay():
            # This holds even if the look-up was inconclusive: the money stays held, and the next round looks up first.
            self.outcome = Postponed("payouts are paused")
            return self.outcome
        before = self.outcome
        self.outcome = OutcomeUnknown("cut off in the middle of the call")
        answer = await self._bank.pay(self._order)
        self.outcome = before
        if isinstance(answer, Declined) and self._is_about_us(answer):
            self.outcome = Postponed(f"the bank declines because of us: {answer.code}", answer.code)
            return self.outcome
        if isinstance(answer, Declined) and self._ask_first:
            # An earlier call may have been paid. Only a look-up shows whether the bank has declined the order.
            answer = OutcomeUnknown(f"declined ({answer.code}) after an unknown outcome")
        if isinstance(answer, OutcomeUnknown):
            self._ask_first = True
            self._conflict = self._conflict or answer.conflict
        return self._learn(answer)

    def _is_about_us(self, answer: FindOutcome) -> bool:
        return isinstance(answer, Declined) and answer.code in self._limits.our_codes

    def _why_not_again(self) -> RoundOutcome | None:
        """Return the round's outcome if an order that the bank does not know must not be sent again, otherwise None."""
        if self._before.accepted:
            return Unresolved("bank_contradiction", "the bank had accepted it and does not know it now")
        if monotonic() >= self._key_expires_at:
            return Unresolved(
                "bank_key_too_old", "the bank does not know it, and its key is too old to be sent again"
            )
        return None if self.has_time() else self._learn(BankUnavailable("the lease is nearly over"))

    def _learn(self, answer: FindOutcome) -> RoundOutcome:
        """Take in an answer. An unknown outcome stays unknown if the bank can't be reached now."""
        if isinstance(answer, NotFound):
            raise AssertionError("that the bank does not know an order is no outcome of a round")
        if not (isinstance(answer, BankUnavailable) and isinstance(self.outcome, OutcomeUnknown)):
            self.outcome = answer
        return self.outcome

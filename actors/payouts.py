"""The actor: one message, one round of bank calls, one recorded outcome."""

import asyncio
from datetime import timedelta
from time import monotonic, time_ns
from typing import Any, Final
from uuid import UUID

import dramatiq
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from actors import messages
from actors.bank.protocol import PayoutOrder
from actors.errors import AlreadyDeadLettered, NoneOfOurs, Requeue, Undeliverable
from actors.middleware.resources import Resources
from actors.payout_steps import EVENTS, note_attempt, note_outcome, note_status, span_of
from actors.settlement import Before, RoundLimits, run_round
from db import reads, stack
from db.connections import understood
from db.errors import LOCKED
from db.withdrawals import Attempt, PayoutsPaused
from runtime.spans import Span
from runtime.telemetry import CONTRADICTIONS, ROUNDS_RESCHEDULED, log
from wallet.errors import IllegalMove, TryLater, Unavailable, WithdrawalNotFound
from wallet.outcomes import Declined, OutcomeUnknown, Paid, Postponed, RoundOutcome
from wallet.traces import Trace
from wallet.withdrawal import Status

ADMISSION_WAIT_S: Final = 60.0
"""Longest time to hold a message while the bank is away, before it is requeued."""

_DATABASE_PAUSE_S = 1.0
_LOCKED_PATIENCE_S = 2.0
"""Longest time to retry recording an outcome while another session holds a lock. When the lease has ended, the bank is
asked again."""


class Payouts:
    """The actor's work, as coroutines on its event loop."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._limits = RoundLimits.of(resources.settings)
        self._lease_s = resources.settings.lease_ms / 1000

    async def pay(self, withdrawal_id: UUID, user_id: str) -> None:
        """Take a withdrawal one step further: paid, declined, due again later, or in need of a person.

        Does nothing if the withdrawal has ended, is under way elsewhere, or is not due. Raises `Undeliverable`,
        `Requeue`.
        """
        began_at_ns = time_ns()
        attempt, give_up_at = None, monotonic() + ADMISSION_WAIT_S
        while attempt is None:
            if not await self._is_admitted(give_up_at):
                return
            lease_ends_at = (
                monotonic() + self._lease_s
            )  # the lease begins later, when the database records it
            try:
                attempt = await self._resources.withdrawals.begin_attempt(withdrawal_id, user_id)
                if attempt is None:
                    await self._check_attention(withdrawal_id, user_id)
                    return
            except PayoutsPaused:
                self._resources.gate.close()
            except TryLater as error:
                await asyncio.sleep(
                    _DATABASE_PAUSE_S
                )  # otherwise the message would come back at once, again and again
                raise Requeue("the database is away") from error
        with span_of(attempt, began_at_ns) as span:
            status = await self._take_step(attempt, lease_ends_at, span)
        if status is Status.REQUIRES_ATTENTION:
            raise Undeliverable("requires_attention")

    async def _take_step(self, attempt: Attempt, lease_ends_at: float, span: Span) -> Status | None:
        """Make a round of bank calls and record its outcome. Return the new state, or None on failure."""
        began_at = monotonic()
        note_attempt(attempt)
        outcome = await self._run_round(attempt, lease_ends_at, span.trace)
        took_ms = round(1000 * (monotonic() - began_at))
        note_outcome(attempt, outcome, took_ms)
        if isinstance(outcome, Postponed) and outcome.code is not None:
            await self._pause(outcome.reason)
        status = await self._settle(attempt, outcome, lease_ends_at, took_ms)
        if status is not None:
            note_status(attempt, status)
        span.note(
            {"wbs.outcome": EVENTS[type(outcome)], "wbs.status": status},
            error="outcome_not_written" if status is None else None,
        )
        return status

    async def _is_admitted(self, give_up_at: float) -> bool:
        """Wait until the bank may be called and may be asked to pay.

        Raises `Requeue` if waiting is pointless or took too long. Returns False if payouts have been paused for the
        whole wait: the message is then done with, and the reconciler announces the withdrawal again once they resume.
        """
        gate, breaker = self._resources.gate, self._resources.breaker
        if not await gate.wait(give_up_at - monotonic()):
            if gate.stopping or not gate.is_seen:
                raise Requeue("it is not known whether payouts are paused")
            return False
        if not await breaker.admit(give_up_at - monotonic()):
            raise Requeue("the bank is away")
        return True

    async def _check_attention(self, withdrawal_id: UUID, user_id: str) -> None:
        """Raise if the message belongs to the dead letters after all.

        If a process dies between `requires_attention` and the dead letter, the message comes again.
        """
        try:
            found = await reads.withdrawal(self._resources.reader, withdrawal_id)
        except WithdrawalNotFound as error:
            raise NoneOfOurs("no such withdrawal") from error
        if found.user_id != user_id:
            raise NoneOfOurs("not this user's withdrawal")
        if found.status == Status.REQUIRES_ATTENTION:
            raise AlreadyDeadLettered("requires_attention")

    async def _run_round(self, attempt: Attempt, lease_ends_at: float, trace: Trace | None) -> RoundOutcome:
        order = PayoutOrder(
            attempt.reference_text,
            attempt.amount,
            attempt.currency,
            attempt.destination,
            trace=trace,
        )
        before = Before(attempt.ask_first, attempt.accepted, attempt.key_age_s, attempt.conflict)
        bank, breaker, gate = self._resources.bank, self._resources.breaker, self._resources.gate
        try:
            return await run_round(
                bank,
                order,
                self._limits,
                before,
                lease_ends_at=lease_ends_at,
                may_pay=lambda: gate.open,
                may_retry=lambda: breaker.closed,
            )
        except Exception as error:  # noqa: BLE001  # a bug of ours, or of a bank module
            # The round must still use up its rung, or the withdrawal would be tried for ever.
            log.error("round_failed", exc_info=True, withdrawal_id=attempt.withdrawal_id)
            return OutcomeUnknown(f"our own fault: {type(error).__name__}")

    async def _pause(self, reason: str) -> None:
        """Pause payouts: the bank declines because of us, and would decline all the others too."""
        self._resources.gate.close()
        try:
            await understood(stack.pause_by_itself, self._resources.reader, reason)
        except TryLater as error:  # the withdrawal stays due: the next attempt gets the same decline
            log.warning("not_paused", reason=reason, error=str(error))

    async def _settle(
        self, attempt: Attempt, outcome: RoundOutcome, lease_ends_at: float, took_ms: int
    ) -> Status | None:
        """Record the outcome, trying as long as the lease lasts. Return the new state, or None on failure."""
        try:
            status = await self._settle_with_retries(attempt, outcome, lease_ends_at, took_ms)
        except TryLater as error:
            log.warning("outcome_not_written", withdrawal_id=attempt.withdrawal_id, error=str(error))
            return None
        except IllegalMove as error:
            # The bank now contradicts its earlier word. The ledger stays as it is; audit and reconciliation report it.
            CONTRADICTIONS.inc()
            log.error(
                "bank_contradicts_itself",
                withdrawal_id=attempt.withdrawal_id,
                outcome=str(outcome),
                error=str(error),
            )
            return None
        except Exception as error:  # noqa: BLE001  # whatever it is, each round would meet it again
            log.error("outcome_not_writable", exc_info=True, withdrawal_id=attempt.withdrawal_id)
            if isinstance(outcome, OutcomeUnknown):
                return None
            # Record an outcome of our own instead: a round whose outcome can't be recorded still uses up its rung.
            unknown = OutcomeUnknown(f"the outcome could not be written: {type(error).__name__}")
            return await self._settle(attempt, unknown, lease_ends_at, took_ms)
        if not isinstance(outcome, Paid | Declined):
            ROUNDS_RESCHEDULED.inc()
        return status

    async def _settle_with_retries(
        self, attempt: Attempt, outcome: RoundOutcome, lease_ends_at: float, took_ms: int
    ) -> Status:
        settle = self._resources.withdrawals.settle
        try:
            return await settle(attempt, outcome, took_ms)
        except TryLater as error:
            left_s = lease_ends_at - monotonic()
            if isinstance(error, Unavailable) and error.reason == LOCKED:
                # The lock may last. Fifty payouts of one locked wallet must not occupy all threads for the whole lease.
                left_s = min(left_s, _LOCKED_PATIENCE_S)
            retrying = AsyncRetrying(
                retry=retry_if_exception_type(TryLater),
                # An unrecorded outcome is no loss, because the bank can be asked again; but only a round that still
                # has its lease may record that it learned nothing.
                stop=stop_after_delay(left_s),
                wait=wait_exponential_jitter(initial=0.1, max=2),
                reraise=True,
            )
            status: Status = await retrying(settle, attempt, outcome, took_ms)
            return status


def time_limit(resources: Resources) -> timedelta:
    """Return the time after which an actor is considered hung: longer than all the bounded steps in it together."""
    settings = resources.settings
    return timedelta(
        seconds=ADMISSION_WAIT_S + 30, milliseconds=settings.lease_ms + settings.write_timeout_ms
    )


def declare_payouts(broker: dramatiq.Broker, resources: Resources) -> dramatiq.Actor[Any, Any]:
    """Make the actor known to the broker, and so its queue to the worker."""
    payouts = Payouts(resources)

    @dramatiq.actor(
        broker=broker,
        actor_name=messages.ACTOR,
        queue_name=messages.QUEUE,
        time_limit=time_limit(resources) // timedelta(milliseconds=1),
        throws=(Undeliverable, Requeue),
    )
    async def pay_withdrawal(withdrawal_id: str, user_id: str) -> None:
        await payouts.pay(UUID(withdrawal_id), user_id)  # messages.decode has checked both

    return pay_withdrawal

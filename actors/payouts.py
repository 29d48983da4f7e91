"""The actor: one message, one round of bank calls, one outcome written down."""

import asyncio
from datetime import timedelta
from time import monotonic
from typing import Any, Final
from uuid import UUID

import dramatiq
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from actors import messages
from actors.bank.protocol import PayoutOrder
from actors.errors import AlreadyDeadLettered, NoneOfOurs, Requeue, Undeliverable
from actors.middleware.resources import Resources
from actors.settlement import Before, RoundLimits, run_round
from db import reads, stack
from db.connections import understood
from db.errors import LOCKED
from db.withdrawals import Attempt, PayoutsPaused
from runtime.telemetry import CONTRADICTIONS, ROUNDS_RESCHEDULED, log
from wallet.errors import IllegalMove, TryLater, Unavailable, WithdrawalNotFound
from wallet.outcomes import Declined, OutcomeUnknown, Paid, Postponed, RoundOutcome
from wallet.withdrawal import Status

ADMISSION_WAIT_S: Final = 60.0
"""How long a message is held while the bank is away, before it is given back to the queue."""

_DATABASE_PAUSE_S = 1.0
_LOCKED_PATIENCE_S = 2.0
"""For writing an outcome down, where somebody else keeps a lock. The bank is asked again when the lease has ended."""


class Payouts:
    """What the actor does, as coroutines on its event loop."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._limits = RoundLimits.of(resources.settings)
        self._lease_s = resources.settings.lease_ms / 1000

    async def pay(self, withdrawal_id: UUID, user_id: str) -> None:
        """Take a withdrawal one step on: paid, declined, due again later, or in need of a person.

        Does nothing if it has ended, is under way elsewhere, or is not due. Raises `Undeliverable`,
        `Requeue`.
        """
        attempt, give_up_at = None, monotonic() + ADMISSION_WAIT_S
        while attempt is None:
            if not await self._is_admitted(give_up_at):
                return
            lease_ends_at = monotonic() + self._lease_s  # it begins later, when the database writes it down
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
                )  # else the message would come back at once, round and round
                raise Requeue("the database is away") from error
        outcome = await self._run_round(attempt, lease_ends_at)
        if isinstance(outcome, Postponed) and outcome.code is not None:
            await self._pause(outcome.reason)
        status = await self._settle(attempt, outcome, lease_ends_at)
        if status is Status.REQUIRES_ATTENTION:
            raise Undeliverable("requires_attention")

    async def _is_admitted(self, give_up_at: float) -> bool:
        """Wait until the bank may be called and may be asked to pay.

        Raises `Requeue` if that can't be waited for. Returns False if payouts have been paused for long: the message
        is done with then, and the reconciler announces it again once they go on.
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
        """Had the process died between `requires_attention` and the dead letter, the message comes again."""
        try:
            found = await reads.withdrawal(self._resources.reader, withdrawal_id)
        except WithdrawalNotFound as error:
            raise NoneOfOurs("no such withdrawal") from error
        if found.user_id != user_id:
            raise NoneOfOurs("not this user's withdrawal")
        if found.status == Status.REQUIRES_ATTENTION:
            raise AlreadyDeadLettered("requires_attention")

    async def _run_round(self, attempt: Attempt, lease_ends_at: float) -> RoundOutcome:
        order = PayoutOrder(attempt.reference_text, attempt.amount, attempt.currency, attempt.destination)
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
            # The round has to use up its rung all the same, or the withdrawal would be tried for ever.
            log.error("round_failed", exc_info=True, withdrawal_id=attempt.withdrawal_id)
            return OutcomeUnknown(f"our own fault: {type(error).__name__}")

    async def _pause(self, reason: str) -> None:
        """Pause payouts: the bank declines because of us, and so it would all the others."""
        self._resources.gate.close()
        try:
            await understood(stack.pause_by_itself, self._resources.reader, reason)
        except TryLater as error:  # the withdrawal stays due: the next attempt hears the same
            log.warning("not_paused", reason=reason, error=str(error))

    async def _settle(self, attempt: Attempt, outcome: RoundOutcome, lease_ends_at: float) -> Status | None:
        """Write the outcome down, for as long as the lease lasts. None if that did not work."""
        try:
            status = await self._settle_with_retries(attempt, outcome, lease_ends_at)
        except TryLater as error:
            log.warning("outcome_not_written", withdrawal_id=attempt.withdrawal_id, error=str(error))
            return None
        except IllegalMove as error:
            # The bank says now what contradicts what it said before. The books keep what they have; audit and
            # reconciliation name it.
            CONTRADICTIONS.inc()
            log.error(
                "bank_contradicts_itself",
                withdrawal_id=attempt.withdrawal_id,
                outcome=str(outcome),
                error=str(error),
            )
            return None
        except Exception as error:  # noqa: BLE001  # whatever it is, it would be the same at each round
            log.error("outcome_not_writable", exc_info=True, withdrawal_id=attempt.withdrawal_id)
            if isinstance(outcome, OutcomeUnknown):
                return None
            # In words of our own: a round that can't be written uses up its rung all the same.
            unknown = OutcomeUnknown(f"the outcome could not be written: {type(error).__name__}")
            return await self._settle(attempt, unknown, lease_ends_at)
        if not isinstance(outcome, Paid | Declined):
            ROUNDS_RESCHEDULED.inc()
            log.info(
                "round_without_outcome",
                withdrawal_id=attempt.withdrawal_id,
                user_id=attempt.user_id,
                attempt=attempt.number,
                outcome=str(outcome),
                status=status,
            )
        elif isinstance(outcome, Declined):
            log.info("declined", withdrawal_id=attempt.withdrawal_id, code=outcome.code)
        return status

    async def _settle_with_retries(
        self, attempt: Attempt, outcome: RoundOutcome, lease_ends_at: float
    ) -> Status:
        settle = self._resources.withdrawals.settle
        try:
            return await settle(attempt, outcome)
        except TryLater as error:
            left_s = lease_ends_at - monotonic()
            if isinstance(error, Unavailable) and error.reason == LOCKED:
                # It may last. Fifty payouts of one wallet that somebody holds must not keep all threads for so long.
                left_s = min(left_s, _LOCKED_PATIENCE_S)
            retrying = AsyncRetrying(
                retry=retry_if_exception_type(TryLater),
                # An outcome that can't be written is no loss, the bank can be asked again; but only a round that
                # still has its lease may write that it learned nothing.
                stop=stop_after_delay(left_s),
                wait=wait_exponential_jitter(initial=0.1, max=2),
                reraise=True,
            )
            status: Status = await retrying(settle, attempt, outcome)
            return status


def time_limit(resources: Resources) -> timedelta:
    """Return the time after which an actor must hang: above everything that is bounded within it."""
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
        await payouts.pay(UUID(withdrawal_id), user_id)  # messages.decode lets nothing else come here

    return pay_withdrawal

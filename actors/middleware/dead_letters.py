"""The fate of a message whose payout did not complete."""

from dramatiq import Broker, MessageProxy
from dramatiq.middleware import Middleware
from dramatiq.middleware.threading import Interrupt

from actors.errors import AlreadyDeadLettered, NoneOfOurs, Requeue, Undeliverable
from actors.rejections import rejections
from runtime.telemetry import DEAD_LETTERS, log


class DeadLetters(Middleware):
    """Sends messages that no retry will help to `withdrawals.XQ`; requeues those that could not begin.

    It replaces dramatiq's `Retries`, which acknowledges a message and enqueues a copy: if the enqueuing fails, the
    message is lost. Our retries are in Postgres. dramatiq logs any other error and acknowledges the message: the
    withdrawal's lease ends, and the reconciler announces the withdrawal again.
    """

    @property
    def actor_options(self) -> set[str]:
        """Let actors name the errors that they raise on purpose: dramatiq logs them without a traceback."""
        return {"throws"}

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: object = None,
        exception: BaseException | None = None,
    ) -> None:
        """Decide the message's fate after the actor has returned or raised."""
        if isinstance(exception, AlreadyDeadLettered) and not getattr(message, "redelivered", False):
            return
        if isinstance(exception, NoneOfOurs):
            message.fail()
            rejections.add("unknown_withdrawal", detail=f"{exception}: {message.args[0]}")
        elif isinstance(exception, Undeliverable):
            message.fail()
            DEAD_LETTERS.inc()
            log.warning("dead_letter", reason=str(exception), withdrawal_id=message.args[0:1])
        elif isinstance(exception, Requeue):
            message.requeued = True  # type: ignore[attr-defined]  # read by actors.broker's consumer
        elif isinstance(exception, Interrupt):
            log.warning("payout_interrupted", withdrawal_id=message.args[0:1])

"""The content of messages, and the queues that they pass through.

A message carries only ids. Losing one delays a withdrawal; receiving one twice changes nothing. Anybody who reaches
RabbitMQ can put any bytes into the queue: only `decode` decides whether they are a message of ours.
"""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from dramatiq import Encoder, Message, set_encoder
from dramatiq.common import dq_name, xq_name
from dramatiq.errors import DecodeError

QUEUE: Final = "withdrawals"
DEAD_LETTER_QUEUE: Final = xq_name(QUEUE)
DELAY_QUEUE: Final = dq_name(QUEUE)
"""dramatiq declares it; we never delay messages in the broker (docs/adr: the ladder is in Postgres)."""
ACTOR: Final = "pay_withdrawal"
WEBHOOKS_QUEUE: Final = "webhooks"
WEBHOOKS_DELAY_QUEUE: Final = dq_name(WEBHOOKS_QUEUE)
WEBHOOKS_ACTOR: Final = "deliver_webhooks"

QueueArguments = dict[str, Any]


BODY_BYTES_MAX: Final = 4096
"""A longer body is not ours: even the longest user_id, fully escaped, makes only some 1,700 bytes."""

MESSAGE_ID_CHARS_MAX: Final = 128


class _Any(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A message in dramatiq's format, restricted to the values that our own messages can have."""

    kwargs: Annotated[dict[str, Any], msgspec.Meta(max_length=0)]
    options: dict[str, Any]
    message_id: Annotated[str, msgspec.Meta(min_length=1, max_length=MESSAGE_ID_CHARS_MAX)]
    message_timestamp: Annotated[int, msgspec.Meta(ge=0)]


class _Withdrawal(
    _Any, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="actor_name", tag="pay_withdrawal"
):
    """A withdrawal, and its user."""

    queue_name: Literal["withdrawals"]
    args: tuple[UUID, Annotated[str, msgspec.Meta(pattern=r"\A[^\x00]{1,128}\Z")]]


class _Webhook(
    _Any,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    tag_field="actor_name",
    tag="deliver_webhooks",
):
    """A webhook endpoint."""

    queue_name: Literal["webhooks"]
    args: tuple[UUID]


_BODY: msgspec.json.Decoder[_Withdrawal | _Webhook] = msgspec.json.Decoder(_Withdrawal | _Webhook)


def decode(body: bytes) -> Message[None]:
    """Return the message in a body. Raises dramatiq's `DecodeError` if it is not ours.

    The message has no options, whatever the body says: we set none, and with a foreign `eta` or `time_limit` a
    stranger could decide when a withdrawal is paid.
    """
    if len(body) > BODY_BYTES_MAX:
        raise _decode_error(f"longer than {BODY_BYTES_MAX} bytes", body)
    try:
        read = _BODY.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _decode_error(str(error), body) from error
    return Message(
        queue_name=read.queue_name,
        actor_name=ACTOR if isinstance(read, _Withdrawal) else WEBHOOKS_ACTOR,
        args=(str(read.args[0]), *read.args[1:]),
        kwargs={},
        options={},
        message_id=read.message_id,
        message_timestamp=read.message_timestamp,
    )


def _decode_error(reason: str, body: bytes) -> DecodeError:
    return DecodeError(reason, body, None)  # type: ignore[no-untyped-call]


class StrictEncoder(Encoder):
    """Writes the same JSON as dramatiq's own encoder in a fraction of the time; reads with `decode`."""

    def encode(self, data: dict[str, Any]) -> bytes:
        """Return the message as JSON."""
        return msgspec.json.encode(data)

    def decode(self, data: bytes) -> dict[str, Any]:
        """Return the message's fields. Raises dramatiq's `DecodeError`."""
        return decode(data).asdict()


set_encoder(StrictEncoder())


def message(withdrawal_id: UUID, user_id: str) -> Message[None]:
    """Return the message that announces a withdrawal to the actors."""
    return Message(
        queue_name=QUEUE, actor_name=ACTOR, args=(str(withdrawal_id), user_id), kwargs={}, options={}
    )


def webhook_message(endpoint_id: UUID) -> Message[None]:
    """Return the message that tells the actors of an endpoint with something to do."""
    return Message(
        queue_name=WEBHOOKS_QUEUE, actor_name=WEBHOOKS_ACTOR, args=(str(endpoint_id),), kwargs={}, options={}
    )


def withdrawal_id_of(body: bytes) -> UUID | None:
    """Return the withdrawal named by a message's body, or None if there is none."""
    try:
        read = decode(body)
    except DecodeError:
        return None
    return UUID(read.args[0]) if read.actor_name == ACTOR else None


def queue_arguments(*, quorum: bool) -> QueueArguments:
    """Return the arguments of the queues that are worked on, and of their delay queues: all processes' alike."""
    arguments: QueueArguments = {
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": DEAD_LETTER_QUEUE,
    }
    if quorum:
        # RabbitMQ removes a dead letter only after the dead-letter queue has confirmed it; that needs a queue that
        # refuses new messages when it is full, instead of dropping old ones.
        arguments["x-queue-type"] = "quorum"
        arguments["x-dead-letter-strategy"] = "at-least-once"
        arguments["x-overflow"] = "reject-publish"
    return arguments


def dead_letter_queue_arguments(*, quorum: bool, ttl_ms: int) -> QueueArguments:
    """Return the arguments of `withdrawals.XQ`. Its messages expire after `ttl_ms`; withdrawals never do."""
    arguments: QueueArguments = {"x-message-ttl": ttl_ms}
    if quorum:
        arguments["x-queue-type"] = "quorum"
    return arguments

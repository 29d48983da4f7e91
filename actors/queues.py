"""Declaration of queues: an existing queue is used as it is, whatever arguments the settings ask for.

RabbitMQ refuses to redeclare a queue with other arguments (406) and closes the channel. The arguments decide how long
dead letters live and whether a queue is replicated, which is no reason to stop payouts. The log and health report the
difference; to get a queue with the arguments of the settings, delete it (docs/OPERATIONS.md).
"""

from collections.abc import Iterator
from typing import Any

import pika.exceptions

from actors import messages
from runtime.slices import BrokerSettings
from runtime.telemetry import log

OTHER_ARGUMENTS = 406
"""RabbitMQ's code, PRECONDITION_FAILED."""

_said: set[str] = set()


def wanted(broker: BrokerSettings) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield our queues according to the settings: name and arguments."""
    quorum = broker.quorum_queues
    arguments = messages.queue_arguments(quorum=quorum)
    yield (
        messages.DEAD_LETTER_QUEUE,
        messages.dead_letter_queue_arguments(quorum=quorum, ttl_ms=broker.dead_message_ttl_ms),
    )
    yield messages.DELAY_QUEUE, arguments
    yield messages.QUEUE, arguments
    yield messages.WEBHOOKS_DELAY_QUEUE, arguments
    yield messages.WEBHOOKS_QUEUE, arguments


def warn_of_other_arguments(queue: str, reason: str) -> None:
    """Warn, once per process, that a queue is used as it is."""
    if queue not in _said:
        _said.add(queue)
        log.warning(
            "queue_has_other_arguments", queue=queue, reason=reason, consequence="it is used as it is"
        )


def declare_blocking(connection: Any, queue: str, arguments: dict[str, Any]) -> Any:
    """Declare a queue on one of pika's blocking connections; return RabbitMQ's answer.

    It uses a channel of its own, which a refusal closes. Raises `pika.exceptions.AMQPError`.
    """
    channel = connection.channel()
    try:
        return channel.queue_declare(queue, durable=True, arguments=arguments)
    except pika.exceptions.ChannelClosedByBroker as refusal:
        if refusal.reply_code != OTHER_ARGUMENTS:
            raise
        warn_of_other_arguments(queue, refusal.reply_text)
        channel = connection.channel()
        return channel.queue_declare(queue, passive=True)
    finally:
        if channel.is_open:
            channel.close()

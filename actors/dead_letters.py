"""The dead-letter queue from the operator's side: look through it, and remove letters that are done with.

Looking fetches every message without acknowledging it; closing the channel returns all messages that were not removed
to their old places. If the process is killed halfway, it has removed the messages that it acknowledged, and no others.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import pika
import pika.exceptions
from pika.adapters.utils.connection_workflow import AMQPConnectorException

from actors import amqp, messages, queues
from runtime.slices import BrokerSettings

AMQP_ERRORS = (pika.exceptions.AMQPError, AMQPConnectorException, OSError)
"""The errors that pika raises. For a node that accepts connections and stays silent, it is not one of pika's tree."""

HEARTBEAT_S = 4
"""A node is given up after it has been silent for a few seconds more than this."""


class DeadLettersUnreachable(Exception):
    """RabbitMQ can't be reached. No withdrawal is lost: they are in the database."""


class DeadLetter(NamedTuple):
    """A message in `withdrawals.XQ`."""

    withdrawal_id: UUID | None
    """None if it is a foreign message."""
    body: bytes
    """The first `messages.BODY_BYTES_MAX` bytes: a foreign message may be as long as RabbitMQ permits."""
    size: int
    died_at: datetime | None

    @property
    def text(self) -> str:
        """The body for a person to read: always printable, whatever its bytes are."""
        more = f"… ({self.size} bytes)" if self.size > len(self.body) else ""
        text = self.body.decode(errors="backslashreplace")
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text) + more


@contextmanager
def _channel(broker: BrokerSettings) -> Iterator[Any]:
    nodes = amqp.parameters(broker)
    for node in nodes:
        node.heartbeat = HEARTBEAT_S  # a person waits
    try:
        connection = pika.BlockingConnection(nodes)
        try:
            yield connection.channel()
        finally:
            connection.close()
    except AMQP_ERRORS as error:
        raise DeadLettersUnreachable(f"RabbitMQ can't be reached: {type(error).__name__}") from error


def count(broker: BrokerSettings) -> int:
    """Return the present number of dead letters. Raises `DeadLettersUnreachable`."""
    with _channel(broker) as channel:
        return _declare(channel, broker)


def look_through(
    broker: BrokerSettings, wants_removed: Callable[[DeadLetter], bool], *, letters_max: int | None = None
) -> Iterator[tuple[DeadLetter, bool]]:
    """Yield the dead letters, the oldest first, and whether each was removed because `wants_removed` said so.

    Yields at most `letters_max`, and none that arrive meanwhile. Raises `DeadLettersUnreachable`.
    """
    with _channel(broker) as channel:
        waiting = _declare(channel, broker)
        for _ in range(waiting if letters_max is None else min(waiting, letters_max)):
            method, properties, body = channel.basic_get(messages.DEAD_LETTER_QUEUE)
            if method is None:
                return
            head = body[: messages.BODY_BYTES_MAX]
            letter = DeadLetter(messages.withdrawal_id_of(body), head, len(body), _died_at(properties))
            removed = wants_removed(letter)
            if removed:
                channel.basic_ack(method.delivery_tag)
            yield letter, removed


def _declare(channel: Any, broker: BrokerSettings) -> int:
    arguments = dict(queues.wanted(broker))[messages.DEAD_LETTER_QUEUE]
    declared = queues.declare_blocking(channel.connection, messages.DEAD_LETTER_QUEUE, arguments)
    waiting: int = declared.method.message_count
    return waiting


def _died_at(properties: Any) -> datetime | None:
    # The sender may have set a header of this name, of any type.
    match (properties.headers or {}).get("x-death"):
        case [{"time": datetime() as at}, *_]:
            return at.replace(tzinfo=UTC)
    return None

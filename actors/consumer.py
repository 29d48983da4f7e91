"""dramatiq's RabbitMQ consumer, extended: it can requeue a message, it answers many messages at once, and no message
can stop it: a foreign message becomes a dead letter before dramatiq sees it.
"""

from collections import deque
from contextlib import suppress
from typing import Any, NamedTuple

import pika.exceptions
from dramatiq.brokers.rabbitmq import _RabbitmqConsumer, _RabbitmqMessage
from dramatiq.common import q_name
from dramatiq.errors import ConnectionClosed, DecodeError

from actors import amqp, messages
from actors.properties import breaks_dead_lettering
from actors.rejections import rejections

_CONNECTION_ERRORS = (pika.exceptions.AMQPConnectionError, pika.exceptions.AMQPChannelError)
_NOT_FOUND = 404


class _Answer(NamedTuple):
    delivery_tag: int
    ack: bool
    requeue: bool = False
    dead_letter: bytes | None = None
    """Body that we publish to the dead-letter queue ourselves, before the answer."""


class Consumer(_RabbitmqConsumer):
    """Answers only messages that came on its own connection, and sends all pending answers together.

    Delivery tags count from 1 on each connection. If a message came on a connection that is now lost, dramatiq would
    answer it on the next connection, where the same tag may belong to another message: that one would be acknowledged
    or dead-lettered while it is being processed. RabbitMQ redelivers messages that it had no answer for, so they need
    no answer.

    When pika sent the answers one by one, each with a wake-up and a flush, they took a tenth of an actor process's
    time.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)  # type: ignore[no-untyped-call]
        self._answers: deque[_Answer] = deque()
        self._sending_is_due = False
        self._has_begun = False

    @property
    def is_consuming(self) -> bool:
        """True if RabbitMQ delivers the queue's messages to us. Any thread may read it."""
        return self._has_begun and self.channel.is_open

    def __next__(self) -> Any:
        """Return the next message; None if none came for a while or it was a foreign one. Its own thread calls this.

        Raises dramatiq's `ConnectionClosed`; the thread then opens another consumer.
        """
        try:
            method, properties, body = next(self.iterator)
        except (AssertionError, *_CONNECTION_ERRORS) as error:
            if getattr(error, "reply_code", None) == _NOT_FOUND:
                self.broker.queues_pending.add(q_name(self.queue_name))  # to be declared again
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]
        self._has_begun = True
        if method is None:
            return None
        reject = _Answer(method.delivery_tag, ack=False)
        if breaks_dead_lettering(properties):
            reject = _Answer(method.delivery_tag, ack=True, dead_letter=body)
        try:
            message = messages.decode(body)
        except DecodeError as error:
            rejections.add("unreadable", detail=str(error), size=len(body))
            self._answer(reject)
            return None
        # dramatiq finds the consumer for the answer by the message's queue; for the delay queue it would find another.
        message = message.copy(queue_name=self.queue_name)
        delivered: Any = _RabbitmqMessage(  # type: ignore[no-untyped-call]
            method.redelivered, method.delivery_tag, message
        )
        delivered.consumer, delivered.reject = self, reject
        return delivered

    def ack(self, message: Any) -> None:
        """Acknowledge or requeue a message, for a worker thread."""
        requeued = getattr(message, "requeued", False)
        self._answer_message(message, _Answer(message._tag, ack=not requeued, requeue=requeued))

    def nack(self, message: Any) -> None:
        """Reject a message as a dead letter, for a worker thread."""
        self._answer_message(message, message.reject)

    def _answer_message(self, message: Any, answer: _Answer) -> None:
        if message.consumer is self:
            self._answer(answer)

    def _answer(self, answer: _Answer) -> None:
        self._answers.append(answer)
        if not self._sending_is_due:
            # If two threads get here at once, there are two callbacks, and one of them finds nothing to do.
            self._sending_is_due = True
            with suppress(pika.exceptions.AMQPError):
                self.connection.add_callback_threadsafe(self._send_answers)

    def _send_answers(self) -> None:
        """Send the answers. pika calls this on the consumer's own thread."""
        self._sending_is_due = False
        # The inner channel only puts frames into the output buffer; the blocking channel around it would wait after
        # each frame until it is on the wire. pika writes all the frames when it next looks for input.
        channel = self.channel._impl
        with suppress(pika.exceptions.AMQPError):
            while self._answers:
                answer = self._answers.popleft()
                if answer.dead_letter is not None:
                    channel.basic_publish("", messages.DEAD_LETTER_QUEUE, answer.dead_letter, amqp.PERSISTENT)
                if answer.ack:
                    channel.basic_ack(answer.delivery_tag)
                else:
                    channel.basic_nack(answer.delivery_tag, requeue=answer.requeue)

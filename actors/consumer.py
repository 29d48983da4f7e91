"""dramatiq's RabbitMQ consumer, which can also give a message back, which answers many messages at once, and which no
message can stop: what is none of ours is a dead letter before dramatiq sees it.
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
    """To be put among the dead letters by ourselves, before the answer."""


class Consumer(_RabbitmqConsumer):
    """Answers only messages that came on its own connection, and those that wait together, together.

    Delivery tags count from 1 on each connection. dramatiq answers a message that came on a connection, now
    lost, on the next one, where the same tag may stand for another message: that one would be acknowledged,
    or dead-lettered, in the middle of its work. RabbitMQ redelivers what it had no answer for: none is needed.

    Sent one by one as pika does it, with a wake-up and a flush each, the answers took a tenth of an actor
    process's time.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)  # type: ignore[no-untyped-call]
        self._answers: deque[_Answer] = deque()
        self._sending_is_due = False
        self._has_begun = False

    @property
    def is_consuming(self) -> bool:
        """Whether RabbitMQ lets us have the queue's messages. May be asked by any thread."""
        return self._has_begun and self.channel.is_open

    def __next__(self) -> Any:
        """Return the next message; None if none has come for a while, or it was none of ours. Called by its thread.

        Raises dramatiq's `ConnectionClosed`: the thread opens another consumer then.
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
        # By the message's queue dramatiq looks for the consumer to answer: of the delay queue it would find another's.
        message = message.copy(queue_name=self.queue_name)
        delivered: Any = _RabbitmqMessage(  # type: ignore[no-untyped-call]
            method.redelivered, method.delivery_tag, message
        )
        delivered.consumer, delivered.reject = self, reject
        return delivered

    def ack(self, message: Any) -> None:
        """Answer, for a worker thread, a message that is done with or is to be given back."""
        requeued = getattr(message, "requeued", False)
        self._answer_message(message, _Answer(message._tag, ack=not requeued, requeue=requeued))

    def nack(self, message: Any) -> None:
        """Answer, for a worker thread, a message that is a dead letter."""
        self._answer_message(message, message.reject)

    def _answer_message(self, message: Any, answer: _Answer) -> None:
        if message.consumer is self:
            self._answer(answer)

    def _answer(self, answer: _Answer) -> None:
        self._answers.append(answer)
        if not self._sending_is_due:
            # Two threads may both come here: then there are two callbacks, of which one finds nothing to do.
            self._sending_is_due = True
            with suppress(pika.exceptions.AMQPError):
                self.connection.add_callback_threadsafe(self._send_answers)

    def _send_answers(self) -> None:
        """Send the answers, on the consumer's own thread, where pika calls this."""
        self._sending_is_due = False
        # The channel's implementation only puts frames into the output; the blocking channel around it would
        # wait after each until it is on the wire. pika writes them all when it next looks for input.
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

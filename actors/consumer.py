"""dramatiq's RabbitMQ consumer, which can also give a message back, and which answers many messages at once."""

from collections import deque
from contextlib import suppress
from typing import Any, NamedTuple

import pika.exceptions
from dramatiq.brokers.rabbitmq import _RabbitmqConsumer


class _Answer(NamedTuple):
    delivery_tag: int
    ack: bool
    requeue: bool = False


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

    def __next__(self) -> Any:
        message = super().__next__()  # type: ignore[no-untyped-call]
        if message is not None:
            message.consumer = self
        return message

    def ack(self, message: Any) -> None:
        """Called by a worker thread when a message is done with, or is to be given back."""
        give_back = getattr(message, "give_back", False)
        self._answer(message, _Answer(message._tag, ack=not give_back, requeue=give_back))

    def nack(self, message: Any) -> None:
        """Called by a worker thread when a message is a dead letter."""
        self._answer(message, _Answer(message._tag, ack=False))

    def _answer(self, message: Any, answer: _Answer) -> None:
        if message.consumer is not self:
            return
        self._answers.append(answer)
        if not self._sending_is_due:
            # Two threads may both come here: then there are two callbacks, of which one finds nothing to do.
            self._sending_is_due = True
            with suppress(pika.exceptions.AMQPError):
                self.connection.add_callback_threadsafe(self._send_answers)

    def _send_answers(self) -> None:
        """Called on the consumer's own thread, by pika."""
        self._sending_is_due = False
        # The channel's implementation only puts frames into the output; the blocking channel around it would
        # wait after each until it is on the wire. pika writes them all when it next looks for input.
        channel = self.channel._impl
        with suppress(pika.exceptions.AMQPError):
            while self._answers:
                answer = self._answers.popleft()
                if answer.ack:
                    channel.basic_ack(answer.delivery_tag)
                else:
                    channel.basic_nack(answer.delivery_tag, requeue=answer.requeue)

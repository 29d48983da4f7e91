"""The destination of the relay's messages, and the room that is left in it."""

from collections.abc import Sequence
from typing import Protocol

from actors import messages
from runtime.telemetry import log

QUEUED_MAX = 10_000
"""Number of messages ready in the queue from which on a relay carries no more: the others wait in the outbox. When the
bank is away for a day, RabbitMQ's memory and disk do not have to hold a day of withdrawals."""
COUNT_EVERY = 1_000
"""Number of messages that a relay carries between two looks at the length of the queue: each relay may exceed
QUEUED_MAX by that much."""


class Publisher(Protocol):
    """The destination of messages: `actors.amqp.AmqpConnection`, or the in-memory broker's publisher."""

    @property
    def is_open(self) -> bool:
        """False once it is unusable."""

    @property
    def is_blocked(self) -> bool:
        """True while it accepts no messages."""

    @property
    def other_queues(self) -> Sequence[str]:
        """Queues that are used as they are, with arguments other than those in the settings."""

    async def publish(self, queue: str, bodies: Sequence[bytes], timeout_s: float) -> list[bool]:
        """Publish the messages; return, for each, whether it was certainly accepted."""

    async def message_count(self, queue: str) -> int:
        """Return the number of messages ready in the queue."""

    async def wait_until_flowing(self, timeout_s: float) -> None:
        """Wait until it accepts messages again."""

    async def close(self) -> None:
        """Close it."""


class QueueRoom:
    """Knows how many messages the queue of withdrawals still has room for, by a look at it every so often."""

    def __init__(self) -> None:
        self._left = 0
        self.is_full = False
        """Whether it was full at the last look."""

    async def left(self, publisher: Publisher) -> int:
        """Return the number of messages that may be published now, COUNT_EVERY at most. Raises `AmqpError`."""
        if self._left <= 0:
            queued = await publisher.message_count(messages.QUEUE)
            was_full, self.is_full = self.is_full, queued >= QUEUED_MAX
            self._left = min(QUEUED_MAX - queued, COUNT_EVERY)
            if self.is_full and not was_full:
                log.warning("queue_full", messages=queued, consequence="the others wait in the outbox")
        return self._left

    def taken(self, number: int) -> None:
        """Count messages that were published."""
        self._left -= number

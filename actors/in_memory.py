"""Relay and actors in one process, without RabbitMQ: `python -m actors.in_memory`.

This is safe because the outbox and the withdrawals are in Postgres: the reconciler announces lost messages again.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from dramatiq import Message

from actors import messages, process
from actors.broker import compose
from actors.relay import run_relay
from actors.worker import start_worker, stop_worker
from runtime.settings import Settings
from runtime.tasks import SupervisedTasks

QUEUED_MAX = 2_000
"""Messages in memory; beyond that they wait in the outbox."""


class InMemoryPublisher:
    """Publishes to dramatiq's in-memory broker; a `publisher.Publisher`."""

    def __init__(self, broker: Any) -> None:
        self._broker = broker
        self.is_open = True
        self.other_queues: list[str] = []

    @property
    def is_blocked(self) -> bool:
        """True while the queue is full."""
        return self._queued(messages.QUEUE) >= QUEUED_MAX

    async def message_count(self, queue: str) -> int:
        """Return the number of messages in the queue."""
        return self._queued(queue)

    def _queued(self, queue: str) -> int:
        number: int = self._broker.queues[queue].qsize()
        return number

    async def publish(self, queue: str, bodies: Sequence[bytes], timeout_s: float) -> list[bool]:
        """Put the messages into the queue."""
        for body in bodies:
            self._broker.enqueue(Message.decode(body))
        return [True] * len(bodies)

    async def wait_until_flowing(self, timeout_s: float) -> None:
        """Wait a moment: the queue drains by thousands per second."""
        await asyncio.sleep(min(0.1, timeout_s))

    async def close(self) -> None:
        """Mark it closed; there is nothing to release."""
        self.is_open = False


def run(settings: Settings) -> int:
    """Relay and pay until told to stop; return 0."""
    broker = compose(settings, in_memory=True)
    worker = start_worker(broker, settings.actor_threads)

    async def connect() -> InMemoryPublisher:
        return InMemoryPublisher(broker)

    async def until(stop: asyncio.Event, tasks: SupervisedTasks) -> None:
        await run_relay(settings.database, connect, stop, tasks, in_memory=True)
        await asyncio.to_thread(stop_worker, worker, settings.round_deadline_ms)

    return process.run(until, beats=False)


def main() -> int:
    """Run such a process, with or without RabbitMQ."""
    return run(process.boot("actors"))


if __name__ == "__main__":
    raise SystemExit(main())

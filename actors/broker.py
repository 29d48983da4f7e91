"""The brokers and the middleware around each payout: the composition root of the actors."""

from collections import deque
from typing import Any

import dramatiq
from dramatiq import Broker, Middleware, worker
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import TimeLimit

from actors import amqp, doorbell
from actors.consumer import Consumer
from actors.middleware.dead_letters import DeadLetters
from actors.middleware.event_loop import UvloopAsyncIO
from actors.middleware.heartbeat import Heartbeat
from actors.middleware.metrics import Metrics
from actors.middleware.resources import Resources
from actors.payouts import declare_payouts
from wallet.config import Settings

RESTART_DELAY_S = 1.0
IN_MEMORY_DEAD_LETTERS_MAX = 1_000

worker.CONSUMER_RESTART_DELAY_SECS = RESTART_DELAY_S  # dramatiq's own is 3 s, and can be set at import only


def compose(settings: Settings, *, in_memory: bool = False) -> Broker:
    """Return a broker that a worker can be run on."""
    broker: Broker = InMemoryBroker() if in_memory else WalletRabbitmqBroker(settings)
    resources = Resources(settings)
    for middleware in _middleware(settings, resources):
        broker.add_middleware(middleware)
    declare_payouts(broker, resources)
    dramatiq.set_broker(broker)
    return broker


def _middleware(settings: Settings, resources: Resources) -> list[Middleware]:
    """In this order before, in reverse after: what stands later can use what stands earlier.

    Not here: Retries (see DeadLetters), AgeLimit, Callbacks, Pipelines (unused), Prometheus (our own
    metrics), ShutdownNotifications: a stopping worker lets its rounds end, they have a deadline;
    interrupted, each would be an unknown outcome.
    """
    return [
        TimeLimit(),
        UvloopAsyncIO(),
        resources,
        Heartbeat(resources),
        Metrics(settings),
        DeadLetters(),
    ]


class WalletRabbitmqBroker(RabbitmqBroker):
    """Declares the queues as `actors.doorbell` says, and consumes with `actors.consumer`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(confirm_delivery=True, middleware=[], url="amqp://")
        self.parameters = amqp.parameters(settings)
        self._quorum = bool(settings.quorum_queues)
        self._dead_message_ttl_ms = settings.dead_message_ttl_ms

    @property
    def consumer_class(self) -> Any:
        """Return the class of our consumers; dramatiq asks when a worker starts."""
        return Consumer

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Any:
        """Declare the queue and return a consumer of it. Called by a consumer thread when it (re)connects."""
        self.declare_queue(queue_name, ensure=True)
        # The declaring was done on a connection of this thread, which nobody will look at again: RabbitMQ
        # would miss its heartbeats and close it with an error in its log.
        del self.connection
        return self.consumer_class(self, queue_name, prefetch, timeout)

    def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
        assert queue_name == doorbell.QUEUE
        return doorbell.queue_arguments(quorum=self._quorum)

    def _declare_xq_queue(self, queue_name: str) -> Any:
        arguments = doorbell.dead_letter_queue_arguments(
            quorum=self._quorum, ttl_ms=self._dead_message_ttl_ms
        )
        return self.channel.queue_declare(queue=doorbell.DEAD_LETTER_QUEUE, durable=True, arguments=arguments)


class InMemoryBroker(StubBroker):
    """dramatiq's broker for tests, which serves where there is no RabbitMQ: the outbox keeps what it loses.

    Its dead letters are for the eye only, so a bounded number is kept.
    """

    def __init__(self) -> None:
        super().__init__(middleware=[])
        self.dead_letters_by_queue.default_factory = lambda: deque(maxlen=IN_MEMORY_DEAD_LETTERS_MAX)  # type: ignore[assignment,return-value]

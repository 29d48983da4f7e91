"""The brokers and the middleware around each payout: the composition root of the actors."""

from collections import deque
from queue import Empty
from typing import Any

import dramatiq
from dramatiq import Broker, Middleware, worker
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.stub import StubBroker, _StubConsumer, _StubMessageProxy
from dramatiq.common import dq_name
from dramatiq.errors import DecodeError
from dramatiq.middleware import TimeLimit

from actors import amqp, messages, queues
from actors.consumer import Consumer
from actors.middleware.dead_letters import DeadLetters
from actors.middleware.event_loop import UvloopAsyncIO
from actors.middleware.heartbeat import HeartbeatMiddleware
from actors.middleware.metrics import Metrics
from actors.middleware.resources import Resources
from actors.payouts import declare_payouts
from actors.rejections import rejections
from actors.webhooks import declare_webhooks
from runtime.settings import Settings
from runtime.slices import BrokerSettings

RESTART_DELAY_S = 1.0
IN_MEMORY_DEAD_LETTERS_MAX = 1_000

DELAYED_MAX = 100

worker.CONSUMER_RESTART_DELAY_SECS = (
    RESTART_DELAY_S  # dramatiq's default is 3 s; it can only be set at import
)
# We delay no messages in the broker. If somebody else does, dramatiq's default of a thousand per thread is too many.
worker.DELAY_QUEUE_PREFETCH = DELAYED_MAX


def compose(settings: Settings, *, in_memory: bool = False) -> Broker:
    """Return a broker on which a worker can run."""
    rabbitmq = None if in_memory else settings.broker
    broker: Broker = InMemoryBroker() if rabbitmq is None else WalletRabbitmqBroker(rabbitmq)
    resources = Resources(settings)
    for middleware in _middleware(settings, resources):
        broker.add_middleware(middleware)
    declare_payouts(broker, resources)
    declare_webhooks(broker, resources)
    dramatiq.set_broker(broker)
    return broker


def _middleware(settings: Settings, resources: Resources) -> list[Middleware]:
    """Return the middleware. dramatiq calls it in this order before an event and in reverse after it.

    So a later one can use an earlier one. Left out: Retries (see DeadLetters), AgeLimit, Callbacks and Pipelines
    (unused), Prometheus (we have our own metrics), and ShutdownNotifications: a stopping worker lets its rounds end,
    because they have a deadline and an interrupted round would have an unknown outcome.
    """
    return [
        TimeLimit(),
        UvloopAsyncIO(),
        resources,
        HeartbeatMiddleware(resources),
        Metrics(settings.http_host, settings.metrics_port),
        DeadLetters(),
    ]


class WalletRabbitmqBroker(RabbitmqBroker):
    """Declares the queues as `actors.messages` says, and consumes with `actors.consumer`."""

    def __init__(self, broker: BrokerSettings) -> None:
        super().__init__(confirm_delivery=True, middleware=[], url="amqp://")
        self.parameters = amqp.parameters(broker)
        self._wanted = dict(queues.wanted(broker))

    @property
    def consumer_class(self) -> Any:
        """Return the class of our consumers; dramatiq reads it when a worker starts."""
        return Consumer

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Any:
        """Declare the queue and return a consumer of it. Called by a consumer thread when it (re)connects."""
        self.declare_queue(queue_name, ensure=True)
        # The declaration used a connection of this thread that nothing will use again: RabbitMQ would miss its
        # heartbeats and close it with an error in its log.
        del self.connection
        return self.consumer_class(self, queue_name, prefetch, timeout)

    def _declare_queue(self, queue_name: str) -> Any:
        return self._declare(queue_name)

    def _declare_dq_queue(self, queue_name: str) -> Any:
        return self._declare(dq_name(queue_name))

    def _declare_xq_queue(self, queue_name: str) -> Any:
        return self._declare(messages.DEAD_LETTER_QUEUE)  # of all queues: only strangers' messages die

    def _declare(self, queue: str) -> Any:
        return queues.declare_blocking(self.connection, queue, self._wanted[queue])


class InMemoryBroker(StubBroker):
    """dramatiq's broker for tests, used without RabbitMQ: the outbox makes up for the messages that it loses.

    Its dead letters are only for display, so it keeps a bounded number.
    """

    def __init__(self) -> None:
        super().__init__(middleware=[])
        self.dead_letters_by_queue.default_factory = lambda: deque(maxlen=IN_MEMORY_DEAD_LETTERS_MAX)  # type: ignore[assignment,return-value]

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 100) -> Any:
        """Return a consumer of a queue. Called by a consumer thread when it starts."""
        return InMemoryConsumer(  # type: ignore[no-untyped-call]
            self.queues[queue_name], self.dead_letters_by_queue[queue_name], prefetch, timeout
        )


class InMemoryConsumer(_StubConsumer):
    """Dead-letters a foreign message, which would stop dramatiq's own consumer for a second and then be lost."""

    def __next__(self) -> Any:
        if not self.prefetch_semaphore.acquire(timeout=self.timeout / 1000):
            return None
        try:
            body = self.queue.get(timeout=self.timeout / 1000)
        except Empty:
            self.prefetch_semaphore.release()
            return None
        try:
            message = messages.decode(body)
        except DecodeError as error:
            rejections.add("unreadable", detail=str(error), size=len(body))
            self.nack(error)  # type: ignore[no-untyped-call]
            return None
        return _StubMessageProxy(message)

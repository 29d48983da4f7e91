"""One connection to RabbitMQ on the running asyncio loop, with asynchronous publisher confirms.

pika's `AsyncioConnection` uses callbacks; this module turns them into awaitables. Confirming one message at a time
gives 1,500 messages/s; a batch whose confirms are in flight together gives ten times as many.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pika
import pika.exceptions
from pika.adapters.asyncio_connection import AsyncioConnection

import actors.properties  # noqa: F401  # from here on pika reads a message's properties as far as it can
from actors import queues
from runtime.identity import process_name
from runtime.slices import BrokerSettings
from runtime.telemetry import log

CONNECT_TIMEOUT_S = 5.0
REPLY_TIMEOUT_S = 5.0
HEARTBEAT_S = 10
BLOCKED_TIMEOUT_S = 60.0
"""A connection that RabbitMQ blocks (memory or disk alarm) for longer than this is closed and reopened."""


PERSISTENT = pika.BasicProperties(delivery_mode=2)


class AmqpError(Exception):
    """RabbitMQ can't be reached, closed the connection, or did not answer in time."""


def parameters(broker: BrokerSettings) -> list[pika.URLParameters]:
    """Return the parameters of each RabbitMQ node: `;` separates the nodes of a cluster in `RABBITMQ_URL`."""
    nodes = []
    for url in broker.url.split(";"):
        node = pika.URLParameters(url.strip())
        node.heartbeat = HEARTBEAT_S
        node.blocked_connection_timeout = BLOCKED_TIMEOUT_S
        node.socket_timeout = node.stack_timeout = CONNECT_TIMEOUT_S
        node.connection_attempts = 1
        node.client_properties = {"connection_name": process_name()}
        nodes.append(node)
    return nodes


class AmqpConnection:
    """A connection with one channel in confirm mode. After any error it is unusable: open another."""

    def __init__(self) -> None:
        self.other_queues: list[str] = []
        """Our queues that already exist with arguments other than those in the settings."""
        self._connection: Any = None
        self._channel: Any = None
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._published = 0
        self._batch: Sequence[bytes] = ()
        self._unconfirmed: dict[int, int] = {}  # delivery tag → place in the batch
        self._returned: set[int] = set()
        self._confirmed: list[bool] = []
        self._answered = asyncio.Event()

    @classmethod
    async def open(cls, broker: BrokerSettings) -> "AmqpConnection":
        """Connect to the first node that answers. Raises `AmqpError`."""
        error: AmqpError | None = None
        for node in parameters(broker):
            connection = cls()
            try:
                await connection._open(node)
            except AmqpError as reason:
                error = reason
            else:
                return connection
        assert error is not None
        raise error

    @property
    def is_open(self) -> bool:
        """True until the connection is lost or closed."""
        return not self._lost.done()

    @property
    def is_blocked(self) -> bool:
        """True while RabbitMQ takes no messages from us, for lack of memory or disk."""
        return not self._flowing.is_set()

    async def _open(self, node: pika.URLParameters) -> None:
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_open(_: Any) -> None:
            if not opened.done():
                opened.set_result(None)

        def on_error(_: Any, reason: BaseException) -> None:
            self._lose(reason)

        self._connection = AsyncioConnection(
            node, on_open_callback=on_open, on_open_error_callback=on_error, on_close_callback=on_error
        )
        self._connection.add_on_connection_blocked_callback(lambda *_: self._block())
        self._connection.add_on_connection_unblocked_callback(lambda *_: self._flowing.set())
        try:
            await self._reply(opened, CONNECT_TIMEOUT_S)
            self._channel = await self._ask(lambda done: self._connection.channel(on_open_callback=done))
            self._channel.add_on_close_callback(lambda _, reason: self._lose(reason))
            self._channel.add_on_return_callback(self._on_return)
            await self._ask(lambda done: self._channel.confirm_delivery(self._on_confirm, callback=done))
        except AmqpError:
            await self.close()
            raise

    async def declare_queues(self, broker: BrokerSettings) -> None:
        """Declare the queues as dramatiq's broker does, so that either may come first. Raises `AmqpError`.

        Queues that exist with other arguments are used as they are, and named in `other_queues`.
        """
        self.other_queues = [
            queue for queue, arguments in queues.wanted(broker) if not await self._declare(queue, arguments)
        ]

    async def _declare(self, queue: str, arguments: dict[str, Any]) -> bool:
        """Declare a queue on a channel of its own, which a refusal closes; return whether its arguments are right."""
        channel = await self._ask(lambda done: self._connection.channel(on_open_callback=done))
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def on_answer(found: Any) -> None:
            if not answer.done():
                answer.set_result(found)

        channel.add_on_close_callback(lambda _, reason: on_answer(reason))
        channel.queue_declare(queue, durable=True, arguments=arguments, callback=on_answer)
        found = await self._reply(answer, REPLY_TIMEOUT_S)
        if not isinstance(found, BaseException):
            channel.close()
            return True
        if getattr(found, "reply_code", 0) != queues.OTHER_ARGUMENTS:
            raise AmqpError(f"{type(found).__name__}: {found}")
        queues.warn_of_other_arguments(queue, str(found))
        return False

    async def message_count(self, queue: str) -> int:
        """Return the number of messages ready in `queue`. Raises `AmqpError`, also if the queue does not exist."""
        frame = await self._ask(lambda done: self._channel.queue_declare(queue, passive=True, callback=done))
        count: int = frame.method.message_count
        return count

    async def publish(self, queue: str, bodies: Sequence[bytes], timeout_s: float) -> list[bool]:
        """Publish persistent messages and return, for each, whether RabbitMQ has confirmed it.

        False is not certain: RabbitMQ may hold the message all the same. A message that no queue accepted
        (`mandatory`) is False. Ends early if the connection is lost or blocked.
        """
        assert not self._unconfirmed, "one batch at a time"
        self._batch, self._confirmed = bodies, [False] * len(bodies)
        self._returned.clear()
        self._answered.clear()
        if not bodies or not self.is_open or self.is_blocked:
            return self._confirmed
        for place, body in enumerate(bodies):
            try:
                self._channel.basic_publish("", queue, body, PERSISTENT, mandatory=True)
            except pika.exceptions.AMQPError as error:
                self._lose(error)
                break
            self._published += 1
            self._unconfirmed[self._published] = place
        try:
            await asyncio.wait_for(self._answered.wait(), timeout_s)
        except TimeoutError:
            # A late confirm must not be taken for an answer to the next batch.
            await self.close()
        self._unconfirmed.clear()
        return self._confirmed

    async def wait_until_flowing(self, timeout_s: float) -> None:
        """Wait until RabbitMQ accepts messages again, the connection is lost, or the time is up."""
        flowing: asyncio.Future[Any] = asyncio.ensure_future(self._flowing.wait())
        lost: asyncio.Future[Any] = self._lost
        await asyncio.wait([flowing, lost], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        flowing.cancel()

    async def close(self) -> None:
        """Close politely; unconfirmed messages stay unconfirmed. Never raises."""
        if self._connection is None or self._connection.is_closed:
            return
        try:
            if not self._connection.is_closing:
                self._connection.close()
            await asyncio.wait([self._lost], timeout=1)
        except pika.exceptions.AMQPError:
            pass
        self._lose("closed by us")

    # --- Callbacks ---

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        if method.multiple:
            tags = [tag for tag in self._unconfirmed if tag <= method.delivery_tag]
        else:
            tags = [method.delivery_tag]
        good = isinstance(method, pika.spec.Basic.Ack)
        for tag in tags:
            place = self._unconfirmed.pop(tag, None)
            if place is not None:
                self._confirmed[place] = good and place not in self._returned
        if not self._unconfirmed:
            self._answered.set()

    def _on_return(self, _channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        # The return comes before the message's confirm, which only says that RabbitMQ has handled the message.
        if body in self._batch:
            self._returned.add(self._batch.index(body))
        log.warning("message_returned", reason=method.reply_text, queue=method.routing_key)

    def _block(self) -> None:
        log.warning("rabbitmq_blocked")
        self._flowing.clear()
        self._answered.set()

    def _lose(self, reason: object) -> None:
        if not self._lost.done():
            self._lost.set_result(f"{type(reason).__name__}: {reason}")
        self._answered.set()

    # --- Waiting for an answer ---

    async def _ask(self, call: Callable[[Callable[..., None]], Any]) -> Any:
        """Make a call that answers through a callback; return the callback's argument."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def on_done(answer: Any = None) -> None:
            if not done.done():
                done.set_result(answer)

        if not self.is_open:
            raise AmqpError(self._lost.result())
        try:
            call(on_done)
        except pika.exceptions.AMQPError as error:
            raise AmqpError(f"{type(error).__name__}: {error}") from error
        return await self._reply(done, REPLY_TIMEOUT_S)

    async def _reply(self, reply: "asyncio.Future[Any]", timeout_s: float) -> Any:
        await asyncio.wait([reply, self._lost], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if reply.done():
            return reply.result()
        reply.cancel()
        raise AmqpError(self._lost.result() if self._lost.done() else f"no answer within {timeout_s} s")

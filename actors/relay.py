"""The relay, `python -m actors.relay`: carries messages from the outbox to RabbitMQ and loses none.

    claim rows (locked, for this relay alone) → publish → wait for the confirms → delete the confirmed →
    commit

If the relay dies anywhere in between, the rows remain for the next one: a message may be published twice, but is never
lost. Any number of relays may run.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from uuid import UUID

from dramatiq.errors import DecodeError

from actors import messages, process
from actors.amqp import AmqpConnection, AmqpError
from actors.metrics import serve_metrics
from actors.publisher import Publisher, QueueRoom
from actors.troubles import Troubles
from db.connections import Reader
from db.errors import DATABASE_ERRORS, is_odd
from db.heartbeats import beat_for_ever
from db.outbox import Message, Outbox
from runtime.slices import BrokerSettings, DatabaseSettings
from runtime.tasks import SupervisedTasks
from runtime.telemetry import RELAY_PUBLISH_FAILURES, RELAY_PUBLISHED, log
from runtime.throttle import Throttle

BATCH_MAX = 500
POLL_S = 1.0
PACE_S = 0.05
"""Shortest time from the start of a batch that was not full to the start of the next one: under load, a batch costs the
same whether it carries two messages or fifty, and so does what the actors write about them."""
BUSY_PACE_S = 0.15
"""The same after a batch of BUSY_MIN messages or more: with hundreds of withdrawals per second on two cores, this
makes 6 % more requests of all kinds. A payout then waits for 75 ms on average, where the bank alone takes longer."""
BUSY_MIN = 10
CONFIRM_TIMEOUT_S = 5.0
BACKOFF_S_MIN = 0.1
BACKOFF_S_MAX = 2.0
_CARRYING = "outbox"
SET_ASIDE_S = 10.0
SET_ASIDE_MAX = 2 * BATCH_MAX
"""Maximum number of messages set aside because RabbitMQ refused them and accepted others. If there are more, RabbitMQ
itself is taken to be at fault."""


class NotConfirmed(Exception):
    """Some messages were not confirmed; they are still in the outbox."""


class Relay:
    """Publishes the messages of the outbox until told to stop."""

    def __init__(self, outbox: Outbox, connect: Callable[[], Awaitable[Publisher]]) -> None:
        self._outbox = outbox
        self._connect = connect
        self._publisher: Publisher | None = None
        self._wake = asyncio.Event()
        self._backoff_s = BACKOFF_S_MIN
        self._set_aside: dict[UUID, float] = {}
        """Withdrawals whose message is not tried again before the given time of the event loop's clock."""
        self._refused: set[UUID] = set()
        """The refused withdrawals of the last batch that was not accepted as a whole."""
        self._room = QueueRoom()
        self._throttle = Throttle()
        self.troubles = Troubles()

    @property
    def holds_back(self) -> bool:
        """Whether the queue is so full that messages stay in the outbox."""
        return self._room.is_full

    @property
    def state(self) -> str:
        """RabbitMQ's state: `ok` (with the names of queues that have other arguments), `blocked` or `away`."""
        if self._publisher is None or not self._publisher.is_open:
            return "away"
        if self._publisher.is_blocked:
            return "blocked"
        others = ", ".join(self._publisher.other_queues)
        return f"ok; used as found, with other arguments than the settings: {others}" if others else "ok"

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until `stop` is set. If RabbitMQ or the database is away, try again, at least every 2 s."""
        try:
            while not stop.is_set():
                try:
                    await self._relay(stop)
                except Exception as error:  # noqa: BLE001  # nothing is lost, and the next try may succeed
                    self._log(error)
                    RELAY_PUBLISH_FAILURES.inc()
                    if not isinstance(error, AmqpError | NotConfirmed):
                        self.troubles.failed(_CARRYING, error)
                    # A fault of the database is no reason to disconnect from RabbitMQ.
                    await self._disconnect(from_rabbitmq=not isinstance(error, DATABASE_ERRORS))
                    await process.pause(stop, self._backoff_s)
                    self._backoff_s = min(2 * self._backoff_s, BACKOFF_S_MAX)
        finally:
            await self._disconnect()

    def wake(self) -> None:
        """Make `run` look at once at the outbox and at `stop`."""
        self._wake.set()

    def _log(self, error: Exception) -> None:
        if not self._throttle.lets_through():
            return
        text = f"{type(error).__name__}: {error}"
        if isinstance(error, AmqpError | NotConfirmed) or not is_odd(error):
            log.warning("relay_waits", error=text)
        else:
            log.error("relay_failed", exc_info=error, error=text)

    async def _relay(self, stop: asyncio.Event) -> None:
        """Connect to both sides and carry batches until something breaks or `stop` is set."""
        await self._outbox.open(on_notify=self._wake.set)
        if self._publisher is None or not self._publisher.is_open:
            self._publisher = await self._connect()
        publisher = self._publisher
        while not stop.is_set():
            self._wake.clear()
            if publisher.is_blocked:
                await publisher.wait_until_flowing(BACKOFF_S_MAX)
            else:
                started_at = asyncio.get_running_loop().time()
                claimed = await self._carry_batch(publisher)
                await self._carry_webhooks(publisher)
                self.troubles.went_well(_CARRYING)
                self._backoff_s = BACKOFF_S_MIN
                if claimed < BATCH_MAX:
                    await self._wait_for_notification()
                    pace_s = PACE_S if claimed < BUSY_MIN else BUSY_PACE_S
                    await asyncio.sleep(started_at + pace_s - asyncio.get_running_loop().time())
            if not publisher.is_open:
                raise AmqpError("connection lost")

    async def _carry_batch(self, publisher: Publisher) -> int:
        room = await self._room.left(publisher)
        if room <= 0:
            return 0
        now = asyncio.get_running_loop().time()
        self._set_aside = {id_: until for id_, until in self._set_aside.items() if until > now}
        async with self._outbox.claim(min(BATCH_MAX, room), self._set_aside) as claimed:
            if not claimed:
                return 0
            carried, bodies, nonsense = _bodies(claimed)
            confirmed = await publisher.publish(messages.QUEUE, bodies, CONFIRM_TIMEOUT_S)
            published = [message for message, held in zip(carried, confirmed, strict=True) if held]
            if published or nonsense:
                await self._outbox.published(published + nonsense)
        RELAY_PUBLISHED.inc(len(published))
        self._room.taken(len(published))
        if len(published) < len(carried) and not publisher.is_blocked:
            self._pass_over([m for m in carried if m not in set(published)], bool(published), publisher)
        return len(claimed)

    async def _carry_webhooks(self, publisher: Publisher) -> None:
        """Tell the actors of webhook endpoints with something to do. What is not confirmed is told another time."""
        if not await self._outbox.webhooks_waiting():
            return
        async with self._outbox.claim_webhooks(BATCH_MAX) as endpoints:
            bodies = [messages.webhook_message(id).encode() for id in endpoints]
            held = await publisher.publish(messages.WEBHOOKS_QUEUE, bodies, CONFIRM_TIMEOUT_S)
            await self._outbox.webhooks_told([id for id, one in zip(endpoints, held, strict=True) if one])

    def _pass_over(self, refused: list[Message], others_taken: bool, publisher: Publisher) -> None:
        """Go on without the messages that RabbitMQ refuses. Raises NotConfirmed if a new connection may help."""
        known, self._refused = self._refused, {message.withdrawal_id for message in refused}
        alone = others_taken or self._refused <= known
        if not (alone and publisher.is_open) or len(self._set_aside) + len(refused) > SET_ASIDE_MAX:
            raise NotConfirmed(f"{len(refused)} messages")
        log.warning("messages_set_aside", messages=len(refused))
        RELAY_PUBLISH_FAILURES.inc()
        until = asyncio.get_running_loop().time() + SET_ASIDE_S
        self._set_aside |= dict.fromkeys(self._refused, until)

    async def _wait_for_notification(self) -> None:
        try:
            async with asyncio.timeout(POLL_S):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _disconnect(self, *, from_rabbitmq: bool = True) -> None:
        if from_rabbitmq and self._publisher is not None:
            await self._publisher.close()
            self._publisher = None
        await self._outbox.close()


def _bodies(claimed: Sequence[Message]) -> tuple[list[Message], list[bytes], list[Message]]:
    """Return the messages that can be published, their bodies, and the messages that no actor would understand.

    No withdrawal of ours should be among the latter. If one is, the reconciler announces it again, and it is logged
    again.
    """
    carried, bodies, nonsense = [], [], []
    for message in claimed:
        body = messages.message(message.withdrawal_id, message.user_id).encode()
        try:
            messages.decode(body)
        except DecodeError as error:
            log.error("no_message", withdrawal_id=message.withdrawal_id, reason=str(error))
            nonsense.append(message)
        else:
            carried.append(message)
            bodies.append(body)
    return carried, bodies, nonsense


async def run_relay(
    database: DatabaseSettings,
    connect: Callable[[], Awaitable[Publisher]],
    stop: asyncio.Event,
    tasks: SupervisedTasks,
    *,
    in_memory: bool = False,
) -> None:
    """Run one relay until `stop` is set. `in_memory`: it carries to the actors of this process, without RabbitMQ."""
    relay = Relay(Outbox(database), connect)
    reader = Reader(database, size=1)

    def detail() -> dict[str, str]:
        state = "in memory" if in_memory else relay.state
        queue = {"queue": "full"} if relay.holds_back else {}
        return {"rabbitmq": state, **queue, **relay.troubles.detail()}

    beating = tasks.start("heartbeat", lambda: beat_for_ever(reader, "relay", detail))
    relaying = tasks.start("relay", lambda: relay.run(stop), ends_when=stop.is_set)
    try:
        await stop.wait()
        relay.wake()
        await relaying.ended()
    finally:
        await beating.stop()
        reader.terminate()


async def connect_to(broker: BrokerSettings) -> Publisher:
    """Return a connection to RabbitMQ, after declaring our queues. Raises `AmqpError`."""
    connection = await AmqpConnection.open(broker)
    await connection.declare_queues(broker)
    return connection


def main() -> int:
    """Run a relay process."""
    settings = process.boot("relay")
    broker = settings.broker
    serve_metrics(settings.http_host, settings.metrics_port)

    async def until(stop: asyncio.Event, tasks: SupervisedTasks) -> None:
        if broker is None:
            log.warning(
                "no_rabbitmq", consequence="nothing to do: `python -m actors` carries its own messages"
            )
            await stop.wait()
        else:
            await run_relay(settings.database, partial(connect_to, broker), stop, tasks)

    return process.run(until)


if __name__ == "__main__":
    raise SystemExit(main())

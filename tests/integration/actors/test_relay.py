"""The relay between a real database and a real RabbitMQ, with the connection between them failing on cue."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import pika
import pytest
import pytest_asyncio

from actors import messages, publisher
from actors.relay import BATCH_MAX, Relay, connect_to
from db.outbox import Outbox
from runtime.settings import Settings
from tests.conftest import delete_queues
from tests.integration.actors.pipeline import Pipeline
from tests.integration.actors.proxy import Proxy
from tests.polling import poll_until


@pytest_asyncio.fixture
async def rabbitmq_proxy(rabbitmq_url: str) -> AsyncIterator[Proxy]:
    """A proxy in front of RabbitMQ."""
    parts = urlsplit(rabbitmq_url)
    assert parts.hostname
    assert parts.port
    proxy = await Proxy(parts.hostname, parts.port).start()
    yield proxy
    await proxy.stop()


def through(proxy: Proxy, url: str) -> str:
    """The same URL, by way of the proxy."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}"))


class RunningRelay:
    """A relay in this process."""

    def __init__(self, settings: Settings) -> None:
        assert settings.broker is not None
        self.relay = Relay(Outbox(settings.database), partial(connect_to, settings.broker))
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self.relay.run(self._stop))

    async def end(self) -> None:
        self._stop.set()
        await self._task


async def queue_is(pipeline: Pipeline, number: int) -> None:
    await poll_until(lambda: pipeline.queued() >= number, what=f"{number} messages queued")


async def outbox_is_empty(pipeline: Pipeline) -> None:
    async def is_empty() -> bool:
        return await pipeline.outbox() == 0

    await poll_until(is_empty)


def arrived(pipeline: Pipeline) -> set[UUID | None]:
    """Take everything out of the queue; return whose messages there were."""
    connection = pika.BlockingConnection(pika.URLParameters(pipeline.settings.rabbitmq_url))
    channel = connection.channel()
    ids = set()
    while (taken := channel.basic_get("withdrawals", auto_ack=True))[0] is not None:
        ids.add(messages.withdrawal_id_of(taken[2]))
    connection.close()
    return ids


async def test_messages_are_what_dramatiq_expects(pipeline: Pipeline) -> None:
    """Goal: a persistent message for the actor, with the withdrawal's ids; gone from the outbox."""
    [id_] = await pipeline.withdraw(1)
    relay = RunningRelay(pipeline.settings)
    await queue_is(pipeline, 1)
    await outbox_is_empty(pipeline)
    await relay.end()
    connection = pika.BlockingConnection(pika.URLParameters(pipeline.settings.rabbitmq_url))
    _, properties, body = connection.channel().basic_get("withdrawals", auto_ack=True)
    connection.close()
    assert properties.delivery_mode == 2
    assert messages.withdrawal_id_of(body) == id_


async def test_more_than_a_batch(pipeline: Pipeline) -> None:
    """Goal: an outbox longer than a batch is carried completely, each message once."""
    await pipeline.withdraw(BATCH_MAX + 50)
    relay = RunningRelay(pipeline.settings)
    await outbox_is_empty(pipeline)
    await queue_is(pipeline, BATCH_MAX + 50)
    await relay.end()
    assert pipeline.queued() == BATCH_MAX + 50


async def test_several_relays_share_the_work(pipeline: Pipeline) -> None:
    """Goal: relays side by side publish each message once."""
    relays = [RunningRelay(pipeline.settings) for _ in range(3)]
    for _ in range(10):
        await pipeline.withdraw(30)
    await outbox_is_empty(pipeline)
    await queue_is(pipeline, 300)
    for relay in relays:
        await relay.end()
    assert pipeline.queued() == 300


async def test_what_was_not_confirmed_stays(
    pipeline: Pipeline, rabbitmq_proxy: Proxy, rabbitmq_url: str
) -> None:
    """Goal: RabbitMQ lost between publish and confirm: the rows stay and are published again."""
    proxied = Settings.from_env(
        {**pipeline.environment, "RABBITMQ_URL": through(rabbitmq_proxy, rabbitmq_url)}
    )
    relay = RunningRelay(proxied)
    await poll_until(lambda: relay.relay.state == "ok")
    rabbitmq_proxy.loses_replies = True
    ids = await pipeline.withdraw(20)
    await queue_is(pipeline, 1)
    assert await pipeline.outbox() == 20, "some are published, but nobody has heard a confirm"
    rabbitmq_proxy.refuses = True
    rabbitmq_proxy.cut()
    await poll_until(lambda: relay.relay.state == "away")
    assert await pipeline.outbox() == 20
    rabbitmq_proxy.loses_replies = rabbitmq_proxy.refuses = False
    await outbox_is_empty(pipeline)
    await queue_is(pipeline, 21)
    await relay.end()
    assert arrived(pipeline) == set(ids)


async def test_a_relay_that_dies_before_its_commit_loses_nothing(pipeline: Pipeline) -> None:
    """Goal: a relay killed again and again at any moment: every message arrives, once at least."""
    pipeline.start(pipeline.relay)
    ids = []
    for _ in range(6):
        ids += await pipeline.withdraw(40)
        pipeline.relay.kill()
        pipeline.relay.start()
    await outbox_is_empty(pipeline)
    await queue_is(pipeline, len(ids))
    assert arrived(pipeline) == set(ids)


async def test_a_deleted_queue_is_declared_again(pipeline: Pipeline, rabbitmq_url: str) -> None:
    """Goal: messages that no queue takes count as not confirmed; the queue is made again, and they arrive."""
    relay = RunningRelay(pipeline.settings)
    await poll_until(lambda: relay.relay.state == "ok")
    delete_queues(rabbitmq_url)
    await pipeline.withdraw(5)
    await outbox_is_empty(pipeline)
    assert pipeline.queued() == 5
    await relay.end()


async def test_the_database_cut_off_in_between(pipeline: Pipeline) -> None:
    """Goal: the relay outlives the loss of its database connection and goes on."""
    relay = RunningRelay(pipeline.settings)
    await poll_until(lambda: relay.relay.state == "ok")
    await pipeline.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'wbs %' "
        "and datname = current_database() and query like '%outbox%'"
    )
    await pipeline.withdraw(5)
    await outbox_is_empty(pipeline)
    await queue_is(pipeline, 5)
    await relay.end()


class Choosy:
    """A publisher that takes every message but those of one withdrawal."""

    is_open = True
    other_queues: tuple[str, ...] = ()
    is_blocked = False

    def __init__(self, refused: UUID) -> None:
        self.refused = refused
        self.taken: list[UUID | None] = []
        self.opened = 0

    async def connect(self) -> "Choosy":
        self.opened += 1
        return self

    async def message_count(self, queue: str) -> int:
        return 0

    async def publish(self, queue: str, bodies: Sequence[bytes], timeout_s: float) -> list[bool]:
        ids = [messages.withdrawal_id_of(body) for body in bodies]
        self.taken += [id_ for id_ in ids if id_ != self.refused]
        return [id_ != self.refused for id_ in ids]

    async def wait_until_flowing(self, timeout_s: float) -> None:
        raise AssertionError("never blocked")

    async def close(self) -> None:
        pass


async def test_a_message_that_is_refused_is_passed_over(pipeline: Pipeline) -> None:
    """Goal: one message that RabbitMQ never takes keeps its place in the outbox; the others go, on one connection."""
    bad, *good = await pipeline.withdraw(20)
    publisher = Choosy(bad)
    stop = asyncio.Event()
    running = asyncio.create_task(Relay(Outbox(pipeline.settings.database), publisher.connect).run(stop))
    await poll_until(lambda: len(publisher.taken) == len(good))
    good += await pipeline.withdraw(5)
    await poll_until(lambda: len(publisher.taken) == len(good))
    stop.set()
    await running
    assert set(publisher.taken) == set(good)
    assert publisher.opened == 1
    assert await pipeline.outbox() == 1


async def test_what_is_no_message_is_named_and_goes(pipeline: Pipeline) -> None:
    """Goal: outbox rows that no actor could understand, however long, stop no others and don't come back."""
    odd = "insert into outbox (withdrawal_id, user_id, created_at) values (gen_random_uuid(), $1, now())"
    for user in ("", "u" * 129, "u" * 100_000):
        await pipeline.execute(odd, user)
    [id_] = await pipeline.withdraw(1)
    relay = RunningRelay(pipeline.settings)
    await outbox_is_empty(pipeline)
    await queue_is(pipeline, 1)
    await relay.end()
    assert arrived(pipeline) == {id_}


async def test_a_full_queue_is_left_alone(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a queue that nobody empties does not grow for ever; the outbox keeps the rest until there is room."""
    monkeypatch.setattr(publisher, "QUEUED_MAX", 5)
    monkeypatch.setattr(publisher, "COUNT_EVERY", 2)
    ids = await pipeline.withdraw(20)
    running = RunningRelay(pipeline.settings)
    await poll_until(lambda: running.relay.holds_back, what="the relay to hold back")
    assert pipeline.queued() == 5
    assert await pipeline.outbox() == 15
    first = arrived(pipeline)
    assert first == set(ids[:5])
    taken = set(first)

    async def all_came() -> bool:
        taken.update(arrived(pipeline))
        return taken == set(ids)

    await poll_until(all_came, what="the others to come as soon as there is room")
    await outbox_is_empty(pipeline)
    await running.end()

"""RabbitMQ and PostgreSQL away, cut off, blocked: the background processes wait, and nothing is lost."""

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
import pytest_asyncio

from ops.local.provision import PrivateServers, private_servers
from tests.conftest import unavailable
from tests.integration.actors.pipeline import Pipeline
from tests.integration.actors.proxy import Proxy
from tests.polling import poll_until


def by_way_of(proxy: Proxy, url: str) -> str:
    """The same URL through the proxy."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}"))


@pytest_asyncio.fixture
async def proxied(
    make_pipeline: Callable[..., Pipeline], rabbitmq_url: str, database_url: str
) -> AsyncIterator[tuple[Pipeline, Proxy, Proxy]]:
    """A pipeline that reaches RabbitMQ and PostgreSQL through proxies: (pipeline, rabbitmq, postgres)."""
    proxies = []
    for url in (rabbitmq_url, database_url):
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        proxies.append(await Proxy(parts.hostname, parts.port).start())
    rabbitmq, postgres = proxies
    pipeline = make_pipeline(
        by_way_of(rabbitmq, rabbitmq_url), DATABASE_URL=by_way_of(postgres, database_url)
    )
    pipeline.direct_rabbitmq_url = rabbitmq_url
    yield pipeline, rabbitmq, postgres
    await pipeline.close()
    await rabbitmq.stop()
    await postgres.stop()


async def test_rabbitmq_cut_off_again_and_again(proxied: tuple[Pipeline, Proxy, Proxy]) -> None:
    """Goal: every connection to RabbitMQ cut three times in the middle of work: all are paid once."""
    pipeline, rabbitmq, _ = proxied
    pipeline.start()
    await pipeline.bank.faults(latency_ms=100)
    number = 0
    for _ in range(3):
        await pipeline.withdraw(40)
        number += 40

        async def some_are_under_way() -> bool:
            return await pipeline.count("processing") > 0

        await poll_until(some_are_under_way)
        rabbitmq.cut()
    await pipeline.all_ended()
    assert await pipeline.count("completed") == number
    await pipeline.audit()


async def test_rabbitmq_away_at_the_start(proxied: tuple[Pipeline, Proxy, Proxy]) -> None:
    """Goal: processes started without RabbitMQ wait for it, and work when it comes."""
    pipeline, rabbitmq, _ = proxied
    rabbitmq.refuses = True
    pipeline.start()
    await pipeline.withdraw(5)
    await poll_until(lambda: "relay_waits" in pipeline.relay.log.read_text())
    await poll_until(lambda: "Restarting consumer" in pipeline.actors.log.read_text())
    assert pipeline.actors.running
    rabbitmq.refuses = False
    await pipeline.all_ended()
    assert await pipeline.count("completed") == 5


async def test_postgres_cut_off_again_and_again(proxied: tuple[Pipeline, Proxy, Proxy]) -> None:
    """Goal: every connection to PostgreSQL cut in the middle of work: all are paid once."""
    pipeline, _, postgres = proxied
    pipeline.start()
    await pipeline.bank.faults(latency_ms=50)
    await pipeline.withdraw(100)
    for status_count in (10, 40, 70):

        async def so_many_are_paid(wanted: int = status_count) -> bool:
            return await pipeline.count("completed") >= wanted

        await poll_until(so_many_are_paid)
        postgres.cut()
    await pipeline.all_ended()
    assert await pipeline.count("completed") == 100
    await pipeline.audit()


async def test_postgres_away_for_a_while(proxied: tuple[Pipeline, Proxy, Proxy]) -> None:
    """Goal: with the database away no message is lost and no process ends; all go on after it."""
    pipeline, _, postgres = proxied
    pipeline.start(pipeline.bank, pipeline.relay)
    await pipeline.withdraw(60)
    await poll_until(lambda: pipeline.queued() == 60)
    postgres.refuses = True
    postgres.cut()
    pipeline.start(pipeline.actors, pipeline.reconciler)
    await poll_until(lambda: "database_away" in pipeline.actors.log.read_text())
    assert pipeline.actors.running
    assert pipeline.reconciler.running
    assert pipeline.relay.running
    postgres.refuses = False
    await pipeline.all_ended()
    assert await pipeline.count("completed") == 60
    assert pipeline.queued("withdrawals.XQ") == 0
    await pipeline.audit()


# --- A node of our own, to be killed and to be filled up ---


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServers]:
    """A RabbitMQ node for this test alone."""
    env = {"RABBITMQ_URL": "", "DATABASE_URL": "postgresql://127.0.0.1/unused"}
    with private_servers(tmp_path_factory.mktemp("node"), env=env, delete=True) as servers:
        if not servers.rabbitmq_url:
            unavailable("no RabbitMQ here, and none can be installed")
        yield servers


def kill_rabbitmq(node: PrivateServers) -> None:
    """kill -9; its supervisor starts it again."""
    for pid in node.stack.pids("rabbitmq"):
        os.kill(pid, signal.SIGKILL)


def rabbitmqctl(node: PrivateServers, *words: str) -> None:
    """Run rabbitmqctl against the node."""
    assert node.stack.servers is not None
    server = node.stack.servers.rabbitmq
    if server is None or server.container:
        pytest.skip("the node is not one whose rabbitmqctl we can call")
    command = Path(server.argv[0]).with_name("rabbitmqctl")
    environment = {**os.environ, **server.environment}
    environment.pop("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS")
    subprocess.run([command, *words], env=environment, check=True, timeout=60, capture_output=True)


@pytest.mark.slow
async def test_rabbitmq_killed_under_load(
    node: PrivateServers, make_pipeline: Callable[..., Pipeline]
) -> None:
    """Goal: kill -9 of RabbitMQ under load, and its start: every withdrawal is paid, once."""
    pipeline = make_pipeline(node.rabbitmq_url)
    pipeline.start()
    await pipeline.bank.faults(latency_ms=50)
    await pipeline.withdraw(200)

    async def some_are_paid() -> bool:
        return await pipeline.count("completed") > 20

    await poll_until(some_are_paid)
    kill_rabbitmq(node)
    await pipeline.withdraw(50)
    await pipeline.all_ended(90)
    assert await pipeline.count("completed") == 250
    await pipeline.audit()


@pytest.mark.slow
async def test_a_blocked_rabbitmq(node: PrivateServers, make_pipeline: Callable[..., Pipeline]) -> None:
    """Goal: RabbitMQ out of disk takes nothing; the outbox keeps it, and the relay goes on after it."""
    pipeline = make_pipeline(node.rabbitmq_url)
    pipeline.start(pipeline.bank, pipeline.relay)
    rabbitmqctl(node, "set_disk_free_limit", "1000GB")
    await pipeline.withdraw(30)
    await poll_until(lambda: "rabbitmq_blocked" in pipeline.relay.log.read_text())
    assert await pipeline.outbox() > 0
    await pipeline.withdraw(30)
    rabbitmqctl(node, "set_disk_free_limit", "50MB")
    pipeline.start(pipeline.actors, pipeline.reconciler)
    await pipeline.all_ended()
    assert await pipeline.count("completed") == 60
    await pipeline.audit()

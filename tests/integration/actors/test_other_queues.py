"""Queues that are there with other arguments than the settings have them: used as they are, and named."""

import asyncio
from typing import Any

import pika
import pytest

from actors import amqp, dead_letters, messages
from runtime.identity import process_name
from tests.integration.actors.pipeline import Pipeline
from tests.integration.actors.processes import Process
from tests.polling import poll_until


def declare(url: str, queue: str, arguments: dict[str, Any]) -> None:
    """Declare a queue with other arguments, like an earlier version."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    connection.channel().queue_declare(queue, durable=True, arguments=arguments)
    connection.close()


OTHERS = {
    messages.DEAD_LETTER_QUEUE: {"x-message-ttl": 1_234_567},
    messages.QUEUE: {"x-max-length": 100_000},
    messages.DELAY_QUEUE: {},
}


@pytest.mark.parametrize("queues", [[messages.DEAD_LETTER_QUEUE], list(OTHERS)], ids=["dead letters", "all"])
async def test_they_are_used_as_they_are(pipeline: Pipeline, queues: list[str]) -> None:
    """Goal: after a changed setting withdrawals are paid all the same; log and health name the queues."""
    for queue in queues:
        declare(pipeline.settings.rabbitmq_url, queue, OTHERS[queue])
    pipeline.start()
    await pipeline.withdraw(5)
    await pipeline.all_ended()
    assert await pipeline.count("completed") == 5

    def said(process: Process) -> int:
        return process.log.read_text().count("queue_has_other_arguments")

    processes = (pipeline.relay, pipeline.actors, pipeline.reconciler)
    await poll_until(lambda: [said(process) for process in processes] == [len(queues)] * 3, what="once each")

    async def named() -> bool:
        rows = await pipeline.execute("select detail from heartbeats where kind = 'relay'")
        return (
            bool(rows) and all(queue in rows[0]["detail"] for queue in queues) and "ok" in rows[0]["detail"]
        )

    await poll_until(named)
    assert await asyncio.to_thread(dead_letters.count, pipeline.broker) == 0


async def test_connections_carry_a_name(pipeline: Pipeline) -> None:
    """Goal: an operator who looks at RabbitMQ's connections sees whose they are."""
    for node in amqp.parameters(pipeline.broker):
        assert node.client_properties == {"connection_name": process_name()}
    pipeline.start(pipeline.bank, pipeline.relay)
    await pipeline.withdraw(1)
    await poll_until(lambda: pipeline.queued() == 1)

"""Without RabbitMQ: relay and actors in one process, messages in its memory, everything else as ever."""

from collections.abc import Callable

from tests.integration.actors.pipeline import Pipeline
from tests.polling import poll_until


async def test_it_pays_without_rabbitmq(make_pipeline: Callable[..., Pipeline]) -> None:
    """Goal: with no RABBITMQ_URL the actors carry their own messages, and end cleanly."""
    pipeline = make_pipeline("")
    pipeline.start(pipeline.bank, pipeline.actors, pipeline.reconciler)
    await pipeline.withdraw(50)
    await pipeline.all_ended()
    assert await pipeline.count("completed") == 50
    assert pipeline.actors.stop() == 0
    await pipeline.audit()


async def test_killed_it_loses_nothing(make_pipeline: Callable[..., Pipeline]) -> None:
    """Goal: kill -9 with messages in memory: the outbox or the reconciler brings each of them again."""
    pipeline = make_pipeline("")
    pipeline.start(pipeline.bank, pipeline.actors, pipeline.reconciler)
    await pipeline.bank.faults(latency_ms=100)
    await pipeline.withdraw(60)

    async def some_are_paid() -> bool:
        return await pipeline.count("completed") > 5

    await poll_until(some_are_paid)
    pipeline.actors.kill()
    await pipeline.bank.faults()
    pipeline.actors.start()
    await pipeline.all_ended()
    assert await pipeline.count("completed") == 60
    await pipeline.audit()


async def test_a_relay_process_has_nothing_to_do(make_pipeline: Callable[..., Pipeline]) -> None:
    """Goal: a relay started without RabbitMQ waits and ends when told to."""
    pipeline = make_pipeline("")
    pipeline.relay.start()
    await poll_until(lambda: "no_rabbitmq" in pipeline.relay.log.read_text())
    assert pipeline.relay.stop() == 0

"""From the outbox to the bank and back, on real servers and in real processes."""

from collections.abc import Callable

from tests.integration.actors.pipeline import Pipeline
from tests.polling import poll_until


async def test_accepted_withdrawals_are_paid_once(pipeline: Pipeline) -> None:
    """Goal: the bank pays every accepted withdrawal exactly once, and the books show it."""
    ids = await pipeline.withdraw(20)
    pipeline.start()
    await pipeline.all_ended()
    assert await pipeline.count("completed") == 20
    references = [await pipeline.reference(id_) for id_ in ids]
    assert sorted(entry["reference"] for entry in await pipeline.bank.books()) == sorted(references)
    await pipeline.audit()


async def test_processes_end_cleanly_when_told_to(pipeline: Pipeline) -> None:
    """Goal: SIGTERM ends each background process with exit code 0."""
    await pipeline.withdraw(1)
    pipeline.start()
    await pipeline.all_ended()
    assert [p.stop() for p in (pipeline.relay, pipeline.actors, pipeline.reconciler)] == [0, 0, 0]


async def test_quorum_queues(make_pipeline: Callable[..., Pipeline], rabbitmq_url: str) -> None:
    """Goal: with replicated queues everything works alike, the dead letters too."""
    pipeline = make_pipeline(rabbitmq_url, WBS_QUORUM_QUEUES="1", WBS_RETRY_ROUNDS="1", WBS_BANK_TRIES="1")
    pipeline.start(pipeline.relay, pipeline.actors, pipeline.reconciler)
    [given_up] = await pipeline.withdraw(1)
    await pipeline.becomes(given_up, "requires_attention")
    await poll_until(lambda: pipeline.queued("withdrawals.XQ") == 1)
    pipeline.bank.start()
    for id_ in await pipeline.withdraw(10):
        await pipeline.becomes(id_, "completed")
    await pipeline.audit()

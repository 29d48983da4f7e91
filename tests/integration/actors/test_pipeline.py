"""From the outbox to the bank and back, on real servers and in real processes."""

from tests.integration.actors.pipeline import Pipeline


async def test_accepted_withdrawals_are_paid_once(pipeline: Pipeline) -> None:
    """Goal: what the ledger accepts, the bank pays, exactly once, and the books say so."""
    ids = await pipeline.withdraw(20)
    pipeline.start()
    await pipeline.all_ended()
    assert await pipeline.count("completed") == 20
    assert sorted(entry["reference"] for entry in await pipeline.bank.books()) == sorted(map(str, ids))
    await pipeline.audit()


async def test_processes_end_cleanly_when_told_to(pipeline: Pipeline) -> None:
    """Goal: SIGTERM ends each background process with exit code 0."""
    await pipeline.withdraw(1)
    pipeline.start()
    await pipeline.all_ended()
    assert [p.stop() for p in (pipeline.relay, pipeline.actors, pipeline.reconciler)] == [0, 0, 0]

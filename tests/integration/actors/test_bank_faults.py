"""Payouts through a bank that loses replies, fails, hangs, dies and is away: none lost, none doubled."""

from collections.abc import Callable, Sequence

import pytest

from tests.integration.actors.pipeline import COMPRESSED, Pipeline
from tests.polling import poll_until

PREFETCHED = 2 * int(COMPRESSED["WBS_ACTOR_THREADS"])


async def paid_once(pipeline: Pipeline, ids: Sequence[object]) -> None:
    """Everything completed, one payout each, the books right."""
    assert await pipeline.count("completed") == len(ids)
    references = [await pipeline.reference(id_) for id_ in ids]
    assert sorted(entry["reference"] for entry in await pipeline.bank.books()) == sorted(references)
    await pipeline.audit()


@pytest.mark.parametrize(
    "faults",
    [
        {"lost_reply_rate": 1.0},
        {"error_rate": 0.6},
        {"hang_rate": 0.4},
        {"latency_ms": 300, "latency_p99_ms": 900},
        {"error_rate": 0.3, "lost_reply_rate": 0.3, "hang_rate": 0.1, "latency_ms": 20},
    ],
    ids=lambda faults: "+".join(faults),
)
async def test_a_bad_bank_pays_each_withdrawal_once(pipeline: Pipeline, faults: dict[str, float]) -> None:
    """Goal: transient faults of any kind delay payouts, and neither lose nor double one."""
    pipeline.start()
    await pipeline.bank.faults(seed=11, **faults)
    ids = await pipeline.withdraw(30)
    await pipeline.all_ended()
    await paid_once(pipeline, ids)


async def test_declined_money_comes_back(pipeline: Pipeline) -> None:
    """Goal: what the bank declines fails, and its money is withdrawable again."""
    pipeline.start()
    await pipeline.bank.faults(seed=3, decline_rate=0.5)
    await pipeline.withdraw(20)
    await pipeline.all_ended()
    failed, completed = await pipeline.count("failed"), await pipeline.count("completed")
    assert failed > 0
    assert failed + completed == 20
    wallet = (await pipeline.execute("select * from wallets"))[0]
    assert (wallet["available"], wallet["held"]) == (failed * 100, 0)
    await pipeline.audit()


async def test_an_outage_costs_time_only(pipeline: Pipeline) -> None:
    """Goal: in an outage withdrawals wait, nearly all without being tried; after it all are paid, once."""
    pipeline.start()
    await pipeline.bank.faults(outage=True)
    ids = await pipeline.withdraw(300)

    async def circuit_is_open() -> bool:
        return "bank_circuit_opened" in pipeline.actors.log.read_text()

    await poll_until(circuit_is_open)
    assert await pipeline.count("pending") > 200, "most were never tried, and could still be cancelled"
    await pipeline.bank.faults()
    await pipeline.all_ended()
    await paid_once(pipeline, ids)


async def test_a_bank_that_is_not_there_comes_back(pipeline: Pipeline) -> None:
    """Goal: a bank killed and started again pays what came in meanwhile, each once."""
    pipeline.start()
    ids = await pipeline.withdraw(10)
    pipeline.bank.kill()
    ids += await pipeline.withdraw(10)
    pipeline.bank.start()
    await pipeline.all_ended()
    await paid_once(pipeline, ids)


async def test_a_frozen_bank_thaws(pipeline: Pipeline) -> None:
    """Goal: a bank that takes connections and does not answer (SIGSTOP) is a mere delay."""
    pipeline.start()
    pipeline.bank.freeze()
    ids = await pipeline.withdraw(10)

    async def somebody_has_called() -> bool:
        return "unknown" in pipeline.actors.log.read_text() or await pipeline.count("processing") > 0

    await poll_until(somebody_has_called)
    pipeline.bank.thaw()
    await pipeline.all_ended()
    await paid_once(pipeline, ids)


LONG_CALLS = {
    "WBS_BANK_TIMEOUT_MS": "5000",
    "WBS_ROUND_DEADLINE_MS": "5100",
    "WBS_LEASE_MS": "15200",
}
CALL_MS = 2000
"""Long enough for all to be in their calls together, and far from the timeout, on a slow machine too."""


async def test_actors_killed_in_the_middle_of_a_call(
    make_pipeline: Callable[..., Pipeline], rabbitmq_url: str
) -> None:
    """Goal: kill -9 while the bank is paying: the next process asks, finds it paid, pays nothing twice."""
    pipeline = make_pipeline(rabbitmq_url, **LONG_CALLS)
    pipeline.start()
    await pipeline.bank.faults(latency_ms=CALL_MS)
    ids = await pipeline.withdraw(8)

    async def all_are_in_their_calls() -> bool:
        return await pipeline.count("processing") == 8

    await poll_until(all_are_in_their_calls)
    pipeline.actors.kill()
    pipeline.actors.start()
    await pipeline.all_ended()
    await paid_once(pipeline, ids)


async def test_told_to_stop_actors_finish_what_they_hold(
    make_pipeline: Callable[..., Pipeline], rabbitmq_url: str
) -> None:
    """Goal: SIGTERM in the middle of calls: they end, and are written down, before the process does."""
    pipeline = make_pipeline(rabbitmq_url, **LONG_CALLS)
    pipeline.start(pipeline.bank, pipeline.relay, pipeline.actors)
    await pipeline.bank.faults(latency_ms=CALL_MS)
    ids = await pipeline.withdraw(8)

    async def all_are_in_their_calls() -> bool:
        return await pipeline.count("processing") == 8

    await poll_until(all_are_in_their_calls)
    assert pipeline.actors.stop() == 0
    assert await pipeline.count("completed") == 8
    await paid_once(pipeline, ids)


async def test_told_to_stop_in_an_outage_actors_give_their_messages_back(pipeline: Pipeline) -> None:
    """Goal: messages held while the bank is away are in the queue again after SIGTERM, none is lost."""
    pipeline.start(pipeline.bank, pipeline.relay, pipeline.actors)
    await pipeline.bank.faults(outage=True)
    ids = await pipeline.withdraw(100)

    async def circuit_is_open() -> bool:
        return "bank_circuit_opened" in pipeline.actors.log.read_text()

    async def hands_are_full() -> bool:
        return pipeline.queued() + PREFETCHED + await pipeline.count("processing") == len(ids)

    await poll_until(circuit_is_open)
    await poll_until(hands_are_full)
    assert pipeline.actors.stop() == 0
    waiting = await pipeline.count("pending")
    assert waiting > 0
    assert pipeline.queued() >= waiting
    await pipeline.bank.faults()
    pipeline.start(pipeline.actors, pipeline.reconciler)
    await pipeline.all_ended()
    await paid_once(pipeline, ids)

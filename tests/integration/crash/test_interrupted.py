"""A payout interrupted in the middle of the bank call by something gentler than SIGKILL."""

from collections.abc import Callable

from tests.integration.crash.stage import Stage


async def test_sigterm_lets_the_bank_call_end(patient_stage: Stage) -> None:
    """Goal: when told to stop, an actor process waits for the bank's answer, records the outcome and ends with 0."""
    stage = patient_stage
    await stage.bank.faults(latency_ms=1500)
    (id_,) = await stage.pipeline.withdraw(1)
    stage.pipeline.relay.start()
    actors = stage.start_crashing("actors.__main__", "in the bank call, alive")
    await actors.reached()
    assert (await stage.pipeline.row(id_))["status"] == "processing"
    assert actors.stop() == 0
    row = await stage.pipeline.row(id_)
    assert (row["status"], row["attempts"]) == ("completed", 1)
    await stage.ends(id_)


async def test_a_cancelled_coroutine_is_an_unknown_outcome(make_stage: Callable[..., Stage]) -> None:
    """Goal: cut off by dramatiq in the middle of the call, a payout is neither failed nor paid twice."""
    stage = make_stage(WBS_BANK_TIMEOUT_MS="6000", WBS_ROUND_DEADLINE_MS="6100", WBS_LEASE_MS="18200")
    stage.bank.start()
    await stage.bank.faults(latency_ms=5000)
    (id_,) = await stage.pipeline.withdraw(1)
    stage.pipeline.relay.start()
    actors = stage.start_crashing("actors.__main__", "in the bank call, cancelled")
    await actors.reached()
    await stage.said(actors, "payout_interrupted")
    row = await stage.pipeline.row(id_)
    assert (row["status"], row["attempts"], row["rounds"]) == ("processing", 1, 0)
    assert await stage.wallet("user-1") == (0, 0, 100)
    assert actors.stop() == 0

    await stage.bank.faults()
    stage.pipeline.start(stage.pipeline.actors, stage.ringer)
    await stage.ends(id_)

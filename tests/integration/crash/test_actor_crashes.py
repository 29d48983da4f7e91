"""The actor killed at each step of a payout: the next one finds the right end, and the bank pays once."""

from collections.abc import Callable

import pytest

from db import stack
from db.connections import Reader
from tests.integration.actors.test_paused import DECLINE_CODES
from tests.integration.crash.conftest import UNHURRIED
from tests.integration.crash.stage import SETTLED_S_MAX, Stage
from tests.polling import poll_until

STEPS = {
    # step: (status, attempts, payouts at the bank, messages back in the queue) once the process is dead
    "message received": ("pending", 0, 0, 1),
    "attempt written, not committed": ("pending", 0, 0, 1),
    "attempt committed": ("processing", 1, 0, 1),
    "bank paid, reply not read": ("processing", 1, 1, 1),
    "reply read": ("processing", 1, 1, 1),
    "outcome written, not committed": ("processing", 1, 1, 1),
    "outcome committed, not acked": ("completed", 1, 1, 1),
    "acked": ("completed", 1, 1, 0),
}


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at(stage: Stage, step: str) -> None:
    """Goal: wherever the actor dies, the next one pays the unpaid withdrawals, and none a second time."""
    status, attempts, payouts, messages = STEPS[step]
    if step == "bank paid, reply not read":
        await stage.bank.faults(latency_ms=1200)
    (id_,) = await stage.pipeline.withdraw(1)
    stage.pipeline.relay.start()
    await stage.start_crashing("actors.__main__", step).died()

    row = await stage.pipeline.row(id_)
    assert (row["status"], row["attempts"]) == (status, attempts)
    assert (await stage.payouts())[await stage.pipeline.reference(id_)] == payouts
    await poll_until(lambda: stage.pipeline.queued() == messages, what=f"{messages} messages in the queue")

    stage.pipeline.start(stage.pipeline.actors, stage.ringer)
    await stage.ends(id_)


async def test_killed_while_the_bank_pays(stage: Stage) -> None:
    """Goal: the actor dies, the bank carries out the order, and the next actor asks before it pays."""
    await stage.bank.faults(latency_ms=1500)
    (id_,) = await stage.pipeline.withdraw(1)
    stage.pipeline.relay.start()
    await stage.start_crashing("actors.__main__", "bank called").died()
    assert (await stage.pipeline.row(id_))["status"] == "processing"

    await poll_until(stage.payouts, SETTLED_S_MAX, what="the bank pays what it was told to")
    await stage.bank.faults()
    stage.pipeline.start(stage.pipeline.actors, stage.ringer)
    await stage.ends(id_)
    assert not await stage.orders_repeated()


async def test_killed_while_the_bank_declines(stage: Stage) -> None:
    """Goal: a refusal that was read and not written down is heard again, and the money goes back once."""
    await stage.bank.faults(decline_rate=1.0)
    (id_,) = await stage.pipeline.withdraw(1)
    stage.pipeline.relay.start()
    await stage.start_crashing("actors.__main__", "reply read").died()
    assert await stage.wallet("user-1") == (0, 0, 100)

    stage.pipeline.start(stage.pipeline.actors, stage.ringer)
    await stage.ends(id_, "failed")
    assert await stage.wallet("user-1") == (100, 0, 0)


@pytest.mark.parametrize("step", ["pause written, not committed", "pause committed, outcome not written"])
async def test_killed_while_payouts_pause(
    make_stage: Callable[..., Stage], reader: Reader, step: str
) -> None:
    """Goal: while the bank declines because of us, payouts pause whoever dies of it, and nobody is refunded."""
    stage = make_stage(**UNHURRIED, WBS_BANK_OUR_CODES=",".join(DECLINE_CODES))
    stage.bank.start()
    await stage.bank.faults(decline_rate=1.0)
    (id_,) = await stage.pipeline.withdraw(1)
    stage.pipeline.start(stage.pipeline.relay, stage.pipeline.reconciler)
    await stage.start_crashing("actors.__main__", step).died()
    assert (await stack.look(reader)).allowed == (step == "pause written, not committed")
    assert ((row := await stage.pipeline.row(id_))["status"], row["failure_code"]) == ("processing", None)

    stage.pipeline.actors.start()

    async def is_paused() -> bool:
        return "because of us" in (await stack.look(reader)).standing

    async def is_for_a_person() -> bool:
        await stack.resume(reader)  # an operator who lets payouts go on as often as they pause
        return await stage.pipeline.status(id_) == "requires_attention"

    await poll_until(is_paused, SETTLED_S_MAX, what="payouts pause")
    await poll_until(is_for_a_person, SETTLED_S_MAX, what="it is for a person", interval_s=0.5)
    assert await stage.wallet("user-1") == (0, 0, 100)
    assert not await stage.payouts()
    await stage.pipeline.audit()


GIVEN_UP = {
    "requires_attention committed, not dead-lettered": 0,
    "dead-lettered": 1,
}


@pytest.mark.parametrize("step", GIVEN_UP)
async def test_killed_when_giving_up(make_stage: Callable[..., Stage], step: str) -> None:
    """Goal: the last round has failed; there is one dead letter, the money stays held, and a replay pays."""
    stage = make_stage(WBS_RETRY_ROUNDS="1")
    stage.bank.start()
    await stage.bank.faults(outage=True)
    (id_,) = await stage.pipeline.withdraw(1)
    stage.pipeline.relay.start()
    await stage.start_crashing("actors.__main__", step).died()
    assert (await stage.pipeline.row(id_))["status"] == "requires_attention"
    letters = GIVEN_UP[step]
    await stage.dead_letters(letters)

    stage.pipeline.start(stage.pipeline.actors, stage.ringer)
    await stage.dead_letters(1)
    await stage.nothing_is_left(dead_letters=1)
    assert await stage.wallet("user-1") == (0, 0, 100)
    await stage.pipeline.audit()

    await stage.bank.faults()
    await stage.operate("dlq", "replay", "--all")
    stage.pipeline.actors.start()
    await stage.ends(id_)


async def test_operator_killed_while_replaying(make_stage: Callable[..., Stage]) -> None:
    """Goal: `wbs dlq replay` dies with the withdrawal on its way and its letter still there; again, it is gone."""
    stage = make_stage(WBS_RETRY_ROUNDS="1")
    stage.bank.start()
    await stage.bank.faults(outage=True)
    (id_,) = await stage.pipeline.withdraw(1)
    stage.pipeline.start(stage.pipeline.relay, stage.pipeline.actors, stage.ringer)
    await stage.dead_letters(1)
    await stage.bank.faults()
    await stage.start_operator("replayed, dead letter not removed", "dlq", "replay", "--all").died()
    await stage.pipeline.becomes(id_, "completed", SETTLED_S_MAX)
    await stage.dead_letters(1)

    await stage.operate("dlq", "replay", "--all")
    await stage.ends(id_)


async def test_killed_with_messages_in_memory(stage: Stage) -> None:
    """Goal: without RabbitMQ the message dies with the process; the withdrawal does not."""
    (id_,) = await stage.pipeline.withdraw(1)
    await stage.start_crashing("actors.in_memory", "message in memory only", RABBITMQ_URL="").died()
    assert (await stage.pipeline.row(id_))["status"] == "pending"
    assert await stage.pipeline.outbox() == 0, "the message was handed over"

    stage.pipeline.start(stage.pipeline.relay, stage.pipeline.actors, stage.ringer)
    await stage.ends(id_)

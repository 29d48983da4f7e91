"""Payouts paused: by an operator, or by itself when history may have been lost; what goes on meanwhile."""

import asyncio
from collections.abc import Callable

import pytest

from actors.bank.breaker import Breaker
from actors.gate import PayoutGate
from db import restores, stack
from db.connections import Reader
from db.withdrawals import PayoutsPaused, Withdrawals
from tests.fakes import ScriptedBank
from tests.integration.actors.pipeline import COMPRESSED, Pipeline
from tests.integration.actors.test_reconciler import pay_directly
from tests.polling import poll_until
from wallet.errors import NotCancellable
from wallet.outcomes import BankUnavailable, NotFound

DECLINE_CODES = ("account_closed", "account_not_found", "payments_blocked", "limit_exceeded")
"""Of the simulator."""

PREFETCHED = 2 * int(COMPRESSED["WBS_ACTOR_THREADS"])
"""Messages that an actor process takes at a time. More of them wait in the queue until these are done with, which takes
as long as a message is held while payouts are paused: a minute."""


async def standing(pipeline: Pipeline) -> str:
    """How payouts stand, as the database says."""
    [row] = await pipeline.execute("select paused_by, paused_reason from stack")
    return f"{row['paused_by']}: {row['paused_reason']}"


async def started(pipeline: Pipeline) -> None:
    """Start all, and wait until the server is written down."""
    pipeline.start()

    async def is_written_down() -> bool:
        [row] = await pipeline.execute(
            "select payouts_allowed() and server_started_at is not null as ok from stack"
        )
        return bool(row["ok"])

    await poll_until(is_written_down)


async def test_nothing_is_paid_while_an_operator_says_so(pipeline: Pipeline, reader: Reader) -> None:
    """Goal: paused, accepting goes on, no order reaches the bank and no message goes round; resumed, all are paid."""
    await started(pipeline)
    await stack.pause(reader, "operator:eve", "the bank moves house")
    ids = await pipeline.withdraw(PREFETCHED)

    async def is_seen() -> bool:
        rows = await pipeline.execute(
            "select detail->>'payouts' as told from heartbeats where kind <> 'relay'"
        )
        return {row["told"] for row in rows} == {"paused: the bank moves house"}

    await poll_until(is_seen)

    async def are_held() -> bool:
        return await pipeline.outbox() == 0 and pipeline.queued() == 0

    await poll_until(are_held, what="the actors hold the messages")
    assert await pipeline.bank.books() == []
    assert await pipeline.count("pending") == PREFETCHED
    assert await stack.resume(reader)
    await pipeline.all_ended()
    assert len(await pipeline.bank.books()) == len(ids)
    assert await pipeline.count("completed") == PREFETCHED
    await pipeline.audit()


async def test_look_ups_go_on_while_paused(pipeline: Pipeline, reader: Reader) -> None:
    """Goal: what the bank paid before is completed while payouts are paused: only the asking to pay stops."""
    await started(pipeline)
    await pipeline.bank.faults(lost_reply_rate=1.0)
    [id_] = await pipeline.withdraw(1)

    async def is_paid() -> bool:
        return len(await pipeline.bank.books()) == 1

    await poll_until(is_paid)
    await stack.pause(reader, "operator:eve", "test")
    await pipeline.bank.faults()
    await pipeline.becomes(id_, "completed")
    assert await standing(pipeline) == "operator:eve: test"
    await pipeline.audit()


async def test_a_decline_about_us_pauses_and_refunds_nobody(
    make_pipeline: Callable[..., Pipeline], rabbitmq_url: str, reader: Reader
) -> None:
    """Goal: while our account is short, no withdrawal fails; one still declined afterwards is for a person."""
    pipeline = make_pipeline(rabbitmq_url, WBS_BANK_OUR_CODES=",".join(DECLINE_CODES))
    await started(pipeline)
    await pipeline.bank.faults(decline_rate=1.0)
    [id_] = await pipeline.withdraw(1)

    async def is_paused() -> bool:
        return "because of us" in await standing(pipeline)

    await poll_until(is_paused)

    async def is_due() -> bool:
        row = await pipeline.row(id_)
        return row["failure_code"] in DECLINE_CODES and (row["status"], row["rounds"]) == ("processing", 0)

    await poll_until(is_due)
    await stack.resume(reader)
    await pipeline.becomes(id_, "requires_attention")
    await poll_until(is_paused)


@pytest.mark.parametrize("what", ["system_identifier = 1", "database_oid = 1", "table_oid = 1"])
async def test_another_database_than_before(pipeline: Pipeline, reader: Reader, what: str) -> None:
    """Goal: a restored database pauses payouts before the first order; an operator resumes; then all are paid once."""
    await started(pipeline)
    pipeline.actors.kill()
    pipeline.reconciler.kill()
    await pipeline.withdraw(3)
    await pipeline.execute(f"update stack set server_started_at = null, {what}")
    pipeline.start(pipeline.actors, pipeline.reconciler)

    async def is_paused() -> bool:
        return "another database" in await standing(pipeline)

    await poll_until(is_paused)

    async def looked_up() -> bool:
        [row] = await pipeline.execute("select count(*) as n from withdrawals where looked_up_at is null")
        return int(row["n"]) == 0

    await poll_until(looked_up)
    assert await pipeline.bank.books() == []
    assert await stack.resume(reader)
    await pipeline.all_ended()
    assert len(await pipeline.bank.books()) == 3
    await pipeline.audit()


@pytest.mark.parametrize("what", ["server_started_at = null, timeline = 77", "server_started_at = null"])
async def test_a_promoted_standby_that_had_everything(pipeline: Pipeline, what: str) -> None:
    """Goal: after a failover or a restart, payouts resume by themselves once the bank's books have nothing unknown."""
    await started(pipeline)
    await pipeline.withdraw(2)
    await pipeline.all_ended()
    pipeline.reconciler.kill()
    await pipeline.execute(
        f"update stack set server_started_at = null, {what}".replace(", server_started_at = null", "")
    )
    pipeline.reconciler.start()
    await pipeline.withdraw(2)
    await pipeline.all_ended()
    [row] = await pipeline.execute("select *, payouts_allowed() as allowed from stack")
    assert (row["allowed"], row["paused_at"], row["history_lost_at"]) == (True, None, None)


async def test_the_bank_knows_more_than_we_do(pipeline: Pipeline, reader: Reader) -> None:
    """Goal: a payout under a reference of ours that we don't know pauses payouts; one that we know only as pending is
    completed by the look-up, and can't be cancelled before."""
    await started(pipeline)
    for process in (pipeline.actors, pipeline.reconciler):
        process.kill()
    [pending] = await pipeline.withdraw(1)
    [row] = await pipeline.execute("select bank_prefix from stack")
    await pay_directly(pipeline, row["bank_prefix"] + "0" * 23 + "1", 7)
    await pay_directly(pipeline, pending, 100)
    pipeline.start(pipeline.actors, pipeline.reconciler)

    async def is_paused() -> bool:
        return "not known here" in await standing(pipeline)

    await poll_until(is_paused)
    await pipeline.becomes(pending, "completed")
    assert await stack.resume(reader)
    [later] = await pipeline.withdraw(1)
    await pipeline.becomes(later, "completed")


async def test_what_the_bank_may_know_is_not_cancelled(
    pipeline: Pipeline, reader: Reader, withdrawals: Withdrawals, database_url: str
) -> None:
    """Goal: after lost history a pending withdrawal is cancelled only once the bank was asked about it; so it is after
    a restore of what was dumped in such a state."""
    [id_] = await pipeline.withdraw(1)
    await stack.pause_by_itself(reader, "test", history_lost=True)
    with pytest.raises(NotCancellable):
        await withdrawals.cancel(id_)
    pipeline.start(pipeline.bank, pipeline.reconciler)

    async def looked_up() -> bool:
        return (await pipeline.row(id_))["looked_up_at"] is not None

    await poll_until(looked_up)
    pipeline.reconciler.kill()
    await restores.begin_new_history(database_url, "restored, as it was while history was lost already")
    with pytest.raises(NotCancellable):
        await withdrawals.cancel(id_)
    await pipeline.execute("update withdrawals set looked_up_at = null")
    pipeline.reconciler.start()
    await poll_until(looked_up)
    assert await withdrawals.cancel(id_) == "cancelled"


async def test_no_attempt_begins_while_paused(
    pipeline: Pipeline, reader: Reader, withdrawals: Withdrawals
) -> None:
    """Goal: the database itself refuses: an actor that has not seen the pause yet begins nothing."""
    [id_] = await pipeline.withdraw(1)
    await stack.pause(reader, "operator:eve", "test")
    with pytest.raises(PayoutsPaused):
        await withdrawals.begin_attempt(id_, "user-1")
    await stack.resume(reader)
    assert await withdrawals.begin_attempt(id_, "user-1") is not None


async def test_an_operators_pause_outlasts_what_ends_by_itself(reader: Reader) -> None:
    """Goal: payouts that an operator paused are not resumed by themselves, whatever paused them before."""
    await stack.pause_by_itself(reader, f"{stack.TIMELINE} than before", history_lost=True)
    await stack.pause(reader, "operator:eve", "let me look")
    assert not await stack.resume_by_itself(reader)
    state = await stack.look(reader)
    assert (state.allowed, state.paused_by) == (False, "operator:eve")
    await stack.pause_by_itself(reader, "the bank declines because of us")
    assert (await stack.look(reader)).paused_reason == "let me look"


async def test_a_doubt_that_ends_does_not_end_the_one_before(reader: Reader) -> None:
    """Goal: history was lost, an operator resumed: a failover that loses nothing, even twice, does not undo that."""
    await stack.pause_by_itself(reader, "restored", history_lost=True)
    await stack.resume(reader)
    for changes in (1, 2):
        for _ in range(changes):
            await stack.pause_by_itself(reader, f"{stack.TIMELINE} than before", history_lost=True)
        assert await stack.resume_by_itself(reader)
        state = await stack.look(reader)
        assert state.paused_at is None
        assert state.history_lost_at is not None


async def test_the_gate_follows_the_database(reader: Reader, pipeline: Pipeline) -> None:
    """Goal: the gate opens once it is known that payouts are allowed, closes with a pause and wakes who waits."""
    gate = PayoutGate(reader)
    open_at = [gate.open]
    await gate.look()
    open_at.append(gate.open)
    await stack.pause(reader, "operator:eve", "test")
    await gate.look()
    open_at.append(gate.open)
    assert open_at == [False, True, False], "before it is known, allowed, paused"
    watching = asyncio.create_task(gate.watch())
    waiting = asyncio.create_task(gate.wait(60))
    await stack.resume(reader)
    assert await waiting
    watching.cancel()
    gate.stop()
    assert not await gate.wait(60)


async def test_a_bank_that_is_back_is_seen_without_traffic() -> None:
    """Goal: with nothing to pay, an open circuit closes once the bank can be asked again."""
    away = BankUnavailable("refused")
    breaker = Breaker(failures_to_open=2, probe_interval_s=0.01)
    bank = ScriptedBank(finds=[away, away, NotFound()])
    probing = asyncio.create_task(breaker.probe(bank))
    breaker.learn(away)
    breaker.learn(away)
    assert not breaker.closed
    await poll_until(lambda: breaker.closed)
    breaker.learn(away)
    assert not breaker.closed
    probing.cancel()

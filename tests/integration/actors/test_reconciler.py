"""The reconciler announces lost withdrawals again, learns from the bank's books, and leaves no withdrawal behind."""

import json
import time
from collections.abc import Callable
from uuid import UUID

import aiohttp
import asyncpg
import pytest

from tests.conftest import delete_queues
from tests.integration.actors.pipeline import Pipeline
from tests.integration.actors.processes import Process
from tests.locks import in_an_hour
from tests.polling import poll_until
from wallet.commands import Charge

SLACK_S = 5.0  # the bank's books are read every few beats, and the machine is shared


async def pay_directly(pipeline: Pipeline, reference: object, amount: int, currency: str = "USD") -> None:
    """Order a payout at the bank behind the service's back."""
    reference = await pipeline.reference(reference)
    body = {"reference": reference, "amount": amount, "currency": currency, "destination": {"iban": "X"}}
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{pipeline.bank.url}/payouts", json=body, headers={"Idempotency-Key": reference}
        ) as response,
    ):
        assert response.status == 201, await response.text()


def named(pipeline: Pipeline) -> list[tuple[str, str]]:
    """The discrepancies that the reconciler has named: (what, reference)."""
    lines = [json.loads(line) for line in pipeline.reconciler.log.read_text().splitlines()]
    return [(line["discrepancy"], line["reference"]) for line in lines if line["event"] == "books_disagree"]


async def test_a_withdrawal_whose_message_was_lost_is_announced_again(pipeline: Pipeline) -> None:
    """Goal: outbox row published, then the whole queue lost: the withdrawals are paid all the same."""
    pipeline.start(pipeline.bank, pipeline.relay)
    await pipeline.withdraw(5)
    await poll_until(lambda: pipeline.queued() == 5)
    delete_queues(pipeline.settings.rabbitmq_url)
    pipeline.start(pipeline.actors, pipeline.reconciler)
    await pipeline.all_ended()
    assert await pipeline.count("completed") == 5
    await pipeline.audit()


async def test_a_long_queue_gets_no_echoes(make_pipeline: Callable[..., Pipeline], rabbitmq_url: str) -> None:
    """Goal: withdrawals that wait in a long queue are not announced again and again."""
    pipeline = make_pipeline(rabbitmq_url, WBS_REDRIVE_AFTER_MS="100")
    pipeline.start(pipeline.relay)
    await pipeline.withdraw(1500)
    await poll_until(lambda: pipeline.queued() == 1500)
    pipeline.start(pipeline.reconciler)

    async def has_rung() -> bool:
        rows = await pipeline.execute("select count(*) as n from withdrawals where ring_at > now()")
        return int(rows[0]["n"]) >= 50

    await poll_until(has_rung)
    assert pipeline.queued() < 1700


async def test_paid_there_and_open_here_is_completed(pipeline: Pipeline) -> None:
    """Goal: with no actor running, a withdrawal that the bank has paid is completed from the bank's books."""
    pipeline.start(pipeline.bank)
    [id_] = await pipeline.withdraw(1)
    await pipeline.execute(
        "update withdrawals set status = 'processing', attempts = 1, history_length = 2, "
        "next_attempt_at = now() + interval '1 hour', ring_at = now() + interval '1 hour'"
    )
    await pipeline.execute(
        "insert into withdrawal_history select user_id, id, 2, 'processing', now(), 'test' from withdrawals"
    )
    await pay_directly(pipeline, id_, 100)
    pipeline.start(pipeline.reconciler)
    await pipeline.becomes(id_, "completed")
    await pipeline.audit()


@pytest.mark.parametrize("held_table", ["withdrawals", "look_ups"])
async def test_one_that_is_held_keeps_no_look_up_waiting(
    pipeline: Pipeline, connection: asyncpg.Connection, held_table: str
) -> None:
    """Goal: while another session holds a withdrawal (or its row in the look-ups), the others are looked up."""
    pipeline.start(pipeline.bank)
    held, free = await pipeline.withdraw(2)
    await pipeline.execute(
        "update withdrawals set status = 'processing', attempts = 1, history_length = 2, "
        "next_attempt_at = now() + interval '1 hour', ring_at = now() + interval '1 hour'"
    )
    await pipeline.execute(
        "insert into withdrawal_history select user_id, id, 2, 'processing', now(), 'test' from withdrawals"
    )
    await pipeline.execute(
        "insert into look_ups (withdrawal_id, user_id, due_at) select id, user_id, now() from withdrawals "
        "on conflict (withdrawal_id, user_id) do update set due_at = excluded.due_at"
    )
    await pay_directly(pipeline, held, 100)
    await pay_directly(pipeline, free, 100)

    async def is_done_with(id_: UUID) -> bool:
        return not await pipeline.execute("select 1 from look_ups where withdrawal_id = $1", id_)

    name = "id" if held_table == "withdrawals" else "withdrawal_id"
    async with connection.transaction():
        await connection.execute(f"select 1 from {held_table} where {name} = $1 for update", held)
        pipeline.start(pipeline.reconciler)
        await pipeline.becomes(free, "completed")
        await poll_until(lambda: is_done_with(free))
        assert not await is_done_with(held)
    await pipeline.becomes(held, "completed")
    await poll_until(lambda: is_done_with(held))
    await pipeline.audit()


@pytest.mark.parametrize(("decline_rate", "status"), [(0.0, "completed"), (1.0, "failed")])
async def test_what_requires_attention_is_settled_by_the_banks_answer(
    make_pipeline: Callable[..., Pipeline], rabbitmq_url: str, decline_rate: float, status: str
) -> None:
    """Goal: a withdrawal that requires attention is settled once the bank says that it paid or declined it."""
    pipeline = make_pipeline(rabbitmq_url, WBS_RETRY_ROUNDS="1", WBS_BANK_TRIES="1")
    pipeline.start(pipeline.relay, pipeline.actors)
    [id_] = await pipeline.withdraw(1)
    await pipeline.becomes(id_, "requires_attention")
    pipeline.bank.start()
    await pipeline.bank.faults(decline_rate=decline_rate)
    if decline_rate:
        reference = await pipeline.reference(id_)
        body = {"reference": reference, "amount": 100, "currency": "USD", "destination": {"iban": "X"}}
        async with aiohttp.ClientSession() as session:
            await session.post(
                f"{pipeline.bank.url}/payouts", json=body, headers={"Idempotency-Key": reference}
            )
    else:
        await pay_directly(pipeline, id_, 100)
    pipeline.start(pipeline.reconciler)
    await pipeline.becomes(id_, status)
    await pipeline.audit()


async def test_a_return_whose_callback_was_lost_is_found(pipeline: Pipeline) -> None:
    """Goal: if the bank's callback about returned money is lost, its books show the return, once."""
    pipeline.start()
    first, second = await pipeline.withdraw(2)
    await pipeline.all_ended()
    await pipeline.bank.send_back(await pipeline.reference(first))
    await pipeline.becomes(first, "returned")
    await pipeline.bank.send_back(await pipeline.reference(second))
    await pipeline.becomes(second, "returned")
    wallet = (await pipeline.execute("select * from wallets"))[0]
    assert (wallet["available"], wallet["held"]) == (200, 0)
    await pipeline.audit()


async def test_a_return_that_only_a_callback_tells(pipeline: Pipeline) -> None:
    """Goal: after a callback about a return that the bank does not know, the bank is asked, and no money moves."""
    pipeline.start()
    [id_] = await pipeline.withdraw(1)
    await pipeline.all_ended()
    # What POST /bank/callbacks writes down. The bank's books may have been read before it was completed here.
    await pipeline.execute(
        "insert into look_ups (withdrawal_id, user_id, due_at) select id, user_id, now() from withdrawals"
        " on conflict (withdrawal_id, user_id) do update set due_at = excluded.due_at"
    )

    async def was_asked() -> bool:
        return not await pipeline.execute("select 1 from look_ups")

    await poll_until(was_asked)
    assert (await pipeline.row(id_))["status"] == "completed"
    wallet = (await pipeline.execute("select * from wallets"))[0]
    assert (wallet["available"], wallet["held"]) == (0, 0)
    await pipeline.audit()


async def test_paid_and_returned_while_it_was_open_here(pipeline: Pipeline) -> None:
    """Goal: payment and return both unheard of: the money ends where it came from, by way of the bank."""
    pipeline.start(pipeline.bank, pipeline.relay)
    [id_] = await pipeline.withdraw(1)
    await pipeline.bank.faults(lost_reply_rate=1.0)
    pipeline.actors.start()

    async def is_paid() -> bool:
        return len(await pipeline.bank.books()) == 1

    await poll_until(is_paid)
    pipeline.actors.kill()
    await pipeline.bank.send_back(await pipeline.reference(id_))
    pipeline.reconciler.start()
    await pipeline.becomes(id_, "returned")
    await pipeline.audit()


async def test_what_does_not_agree_is_named_and_left_alone(pipeline: Pipeline) -> None:
    """Goal: unknown here, another amount, paid though never ordered: named once each, written down, nothing moved."""
    pipeline.start(pipeline.bank)
    cancelled, different = await pipeline.withdraw(2)
    stranger = UUID("0190a5e2-7c3b-7000-8000-000000000009")
    await pay_directly(pipeline, stranger, 5)
    await pay_directly(pipeline, "no-uuid", 5)
    await pay_directly(pipeline, different, 101)
    await pay_directly(pipeline, cancelled, 100)
    before = await pipeline.execute("select id, status from withdrawals order by id")
    pipeline.start(pipeline.reconciler)
    expected = {
        ("unknown_here", str(stranger)),
        ("unknown_here", "no-uuid"),
        ("different", await pipeline.reference(different)),
        ("paid_but_not_by_us", await pipeline.reference(cancelled)),
    }
    await poll_until(lambda: set(named(pipeline)) == expected)
    assert await pipeline.execute("select id, status from withdrawals order by id") == before
    assert len(named(pipeline)) == 4

    async def is_written_down() -> bool:
        rows = await pipeline.execute("select kind, reference from discrepancies")
        return {tuple(row) for row in rows} == expected

    await poll_until(is_written_down)


@pytest.mark.parametrize("end", [Process.kill, Process.freeze])
async def test_one_of_two_leads_and_the_other_takes_over(
    pipeline: Pipeline, end: Callable[[Process], None]
) -> None:
    """Goal: two reconcilers do the work once; when the leader is killed or frozen, the other leads within 15 s."""
    pipeline.start()
    second = Process("actors.reconciler", pipeline.reconciler.log.parent, pipeline.environment)
    second.start()
    try:
        [first] = await pipeline.withdraw(1)
        await pipeline.all_ended()
        end(pipeline.reconciler)
        ended_at = time.monotonic()
        await pipeline.bank.send_back(await pipeline.reference(first))
        await pipeline.becomes(first, "returned")
        assert time.monotonic() - ended_at < 15 + SLACK_S
    finally:
        second.ensure_gone()
    await pipeline.audit()


async def test_matured_locks_are_released_in_the_books(pipeline: Pipeline) -> None:
    """Goal: money whose time has come moves from locked to available in the background."""
    await pipeline.ledger.submit(Charge("test", "locked", "saver", "USD", 70, in_an_hour()))
    pipeline.start(pipeline.bank, pipeline.reconciler)
    await pipeline.mature()

    async def is_available() -> bool:
        row = (await pipeline.execute("select * from wallets where user_id = 'saver'"))[0]
        return (row["available"], row["locked"]) == (70, 0)

    await poll_until(is_available)
    await pipeline.audit()


async def test_heartbeats_tell_what_each_process_sees(pipeline: Pipeline) -> None:
    """Goal: each background process writes what it sees of RabbitMQ and the bank."""
    pipeline.start()

    async def seen() -> dict[str, dict[str, object]]:
        rows = await pipeline.execute("select kind, detail from heartbeats")
        return {row["kind"]: json.loads(row["detail"]) for row in rows}

    async def all_well() -> bool:
        found = await seen()
        wanted: dict[str, dict[str, object]] = {
            "actors": {"rabbitmq": "ok", "bank": "ok", "payouts": "ok"},
            "relay": {"rabbitmq": "ok"},
            "reconciler": {"leads": True, "rabbitmq": "ok", "bank": "ok", "payouts": "ok"},
        }
        return all(said.items() <= found.get(kind, {}).items() for kind, said in wanted.items())

    await poll_until(all_well)
    pipeline.bank.kill()

    async def bank_away() -> bool:
        return (await seen())["reconciler"]["bank"] == "away: not connected: ConnectionRefusedError"

    await poll_until(bank_away)

"""The ladder's end and back: requires_attention, the dead letter, `wbs dlq`, and messages that are no use."""

import json
from collections.abc import Callable
from uuid import UUID

import pika
import pytest
import pytest_asyncio

from actors import messages
from actors.dead_letters import look_through
from tests.conftest import delete_queues
from tests.integration.actors.command import wbs_dlq
from tests.integration.actors.pipeline import Pipeline
from tests.polling import poll_until

TWO_ROUNDS = {"WBS_RETRY_ROUNDS": "2"}


def publish(pipeline: Pipeline, *bodies: bytes, queue: str = messages.QUEUE) -> None:
    """Put messages into RabbitMQ behind the relay's back."""
    connection = pika.BlockingConnection(pika.URLParameters(pipeline.settings.rabbitmq_url))
    channel = connection.channel()
    for body in bodies:
        channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2))
    connection.close()


def letters(pipeline: Pipeline) -> list[UUID | None]:
    """Whose dead letters lie in the queue."""
    return [letter.withdrawal_id for letter, _ in look_through(pipeline.broker, lambda _: False)]


@pytest_asyncio.fixture
async def hopeless(make_pipeline: Callable[..., Pipeline], rabbitmq_url: str) -> Pipeline:
    """A pipeline whose ladder has two rungs, and a bank that is not there."""
    return make_pipeline(rabbitmq_url, **TWO_ROUNDS)


async def dead(pipeline: Pipeline, number: int) -> list[UUID]:
    """Have `number` withdrawals use up their ladder; return them when their dead letters lie in the queue."""
    pipeline.start(pipeline.relay, pipeline.actors, pipeline.reconciler)
    ids = await pipeline.withdraw(number)

    async def all_given_up() -> bool:
        return await pipeline.count("requires_attention") == number

    await poll_until(all_given_up)
    await poll_until(lambda: pipeline.queued("withdrawals.XQ") >= number)
    return ids


async def test_from_the_ladders_end_and_back(hopeless: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a bank that fails for good: attention, dead letter, money held; replayed when healed: paid."""
    ids = await dead(hopeless, 3)
    assert sorted(letters(hopeless), key=str) == sorted(ids)
    wallet = (await hopeless.execute("select * from wallets"))[0]
    assert wallet["held"] == 300

    code, printed = await wbs_dlq(hopeless, monkeypatch, "list", "--json")
    listed = json.loads(printed)
    assert code == 0
    assert {UUID(row["id"]) for row in listed["requires_attention"]} == set(ids)
    assert all(row["dead_letter"] for row in listed["requires_attention"])
    assert listed["other_dead_letters"] == 0

    code, printed = await wbs_dlq(hopeless, monkeypatch, "show", str(ids[0]), "--json")
    shown = json.loads(printed)
    assert code == 0
    assert shown["status"] == "requires_attention"
    assert [entry["status"] for entry in shown["history"]] == ["pending", "processing", "requires_attention"]
    assert len(shown["dead_letters"]) == 1
    assert shown["dead_letters"][0]["died_at"]

    hopeless.bank.start()
    code, printed = await wbs_dlq(hopeless, monkeypatch, "replay", str(ids[0]), "--json")
    assert code == 0
    assert json.loads(printed) == {"replayed": [str(ids[0])], "refused": {}, "dead_letters_removed": 1}
    await hopeless.becomes(ids[0], "completed")
    assert sorted(letters(hopeless), key=str) == sorted(ids[1:]), "the others' letters stay"

    code, printed = await wbs_dlq(hopeless, monkeypatch, "replay", "--all")
    assert code == 0
    await hopeless.all_ended()
    assert await hopeless.count("completed") == 3
    assert letters(hopeless) == []
    await hopeless.audit()


async def test_replay_works_when_the_letters_have_expired(
    hopeless: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: the database is the truth; without a letter a withdrawal is replayed all the same."""
    ids = await dead(hopeless, 2)
    delete_queues(hopeless.settings.rabbitmq_url, ("withdrawals.XQ",))
    hopeless.bank.start()
    code, printed = await wbs_dlq(hopeless, monkeypatch, "replay", "--all", "--json")
    assert code == 0
    assert {UUID(text) for text in json.loads(printed)["replayed"]} == set(ids)
    await hopeless.all_ended()
    assert await hopeless.count("completed") == 2


async def test_replay_refuses_what_needs_no_attention(
    hopeless: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: replaying what has ended, or does not exist, changes nothing and says so."""
    [id_] = await dead(hopeless, 1)
    hopeless.bank.start()
    unknown = "0190a5e2-7c3b-7000-8000-000000000009"
    assert (await wbs_dlq(hopeless, monkeypatch, "replay", str(id_)))[0] == 0
    await hopeless.becomes(id_, "completed")
    code, printed = await wbs_dlq(hopeless, monkeypatch, "replay", str(id_), unknown, "--json")
    assert code == 1
    assert set(json.loads(printed)["refused"]) == {str(id_), unknown}
    assert (await hopeless.row(id_))["status"] == "completed"


async def test_discard_drops_the_letter_not_the_money(
    hopeless: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: discard needs a yes, removes the message only; the money stays held, replay still works."""
    ids = await dead(hopeless, 2)
    assert (await wbs_dlq(hopeless, monkeypatch, "discard", str(ids[0])))[0] == 1
    assert len(letters(hopeless)) == 2
    assert (await wbs_dlq(hopeless, monkeypatch, "discard", str(ids[0]), "--yes"))[0] == 0
    assert letters(hopeless) == ids[1:]
    assert (await hopeless.row(ids[0]))["status"] == "requires_attention"
    assert (await hopeless.execute("select held from wallets"))[0]["held"] == 200
    hopeless.bank.start()
    assert (await wbs_dlq(hopeless, monkeypatch, "replay", "--all"))[0] == 0
    await hopeless.all_ended()
    assert await hopeless.count("completed") == 2


async def test_a_message_delivered_again_is_a_dead_letter_all_the_same(hopeless: Pipeline) -> None:
    """Goal: killed between writing `requires_attention` and rejecting: rejected the next time."""
    [id_] = await dead(hopeless, 1)
    hopeless.actors.kill()
    list(look_through(hopeless.broker, lambda _: True))
    publish(hopeless, messages.message(id_, (await hopeless.row(id_))["user_id"]).encode())
    take_and_hang_up(hopeless)
    hopeless.actors.start()
    await poll_until(lambda: letters(hopeless) == [id_])


async def test_an_echo_of_what_was_given_up_adds_no_letter(hopeless: Pipeline) -> None:
    """Goal: a second message of a withdrawal that requires attention is dropped: one withdrawal, one letter."""
    [id_] = await dead(hopeless, 1)
    publish(hopeless, *[messages.message(id_, (await hopeless.row(id_))["user_id"]).encode()] * 3)
    await poll_until(lambda: hopeless.queued() == 0)
    hopeless.bank.start()  # frees what waits for the bank
    [other] = await hopeless.withdraw(1)
    await hopeless.becomes(other, "completed")
    assert hopeless.actors.stop() == 0
    assert letters(hopeless) == [id_]


def take_and_hang_up(pipeline: Pipeline) -> None:
    """Take the message and go away without an answer, as a process that dies does."""
    connection = pika.BlockingConnection(pika.URLParameters(pipeline.settings.rabbitmq_url))
    assert connection.channel().basic_get(messages.QUEUE)[0] is not None
    connection.close()


async def test_messages_of_no_use_are_dead_letters(pipeline: Pipeline) -> None:
    """Goal: a body that is no message, or names an unknown withdrawal or actor, is a dead letter; others pass."""
    pipeline.start()
    await pipeline.withdraw(1)
    await pipeline.all_ended()
    ghost = UUID("0190a5e2-7c3b-7000-8000-000000000009")
    good = messages.message(ghost, "nobody")
    publish(
        pipeline,
        b"not json",
        b'{"half": ',
        good.copy(actor_name="another").encode(),
        good.copy(args=("no-uuid", "nobody")).encode(),
        good.copy(args=()).encode(),
        good.encode(),
    )
    await poll_until(lambda: pipeline.queued("withdrawals.XQ") == 6)
    ids = await pipeline.withdraw(2)
    await pipeline.all_ended()
    assert await pipeline.count("completed") == 1 + len(ids)


async def test_messages_that_come_twice_change_nothing(pipeline: Pipeline) -> None:
    """Goal: ten messages of one withdrawal, before and after its end: one payout, no dead letter."""
    pipeline.start(pipeline.bank, pipeline.relay)
    [id_] = await pipeline.withdraw(1)
    await poll_until(lambda: pipeline.queued() == 1)
    body = messages.message(id_, (await pipeline.row(id_))["user_id"]).encode()
    publish(pipeline, *[body] * 5)
    pipeline.start(pipeline.actors)
    await pipeline.becomes(id_, "completed")
    publish(pipeline, *[body] * 5)
    await poll_until(lambda: pipeline.queued() == 0)
    assert pipeline.actors.stop() == 0
    assert len(await pipeline.bank.books()) == 1
    assert (await pipeline.row(id_))["attempts"] == 1
    assert pipeline.queued("withdrawals.XQ") == 0
    await pipeline.audit()

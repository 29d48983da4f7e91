"""Any body in the queue is understood or becomes a dead letter, and the next withdrawal is paid as usual."""

import json

import pika
import pytest

from actors import messages
from actors.dead_letters import look_through
from tests.integration.actors.command import wbs_dlq
from tests.integration.actors.pipeline import Pipeline
from tests.poison import BODIES, GOOD, PROPERTIES, body
from tests.polling import poll_until

PERSISTENT = pika.BasicProperties(delivery_mode=2)


def publish(
    pipeline: Pipeline, *messages: tuple[bytes, pika.BasicProperties], queue: str = messages.QUEUE
) -> None:
    """Put messages into RabbitMQ behind the relay's back; return when it has them."""
    connection = pika.BlockingConnection(pika.URLParameters(pipeline.settings.rabbitmq_url))
    channel = connection.channel()
    channel.confirm_delivery()
    for odd, properties in messages:
        channel.basic_publish("", queue, odd, properties)
    connection.close()


async def paid_after(pipeline: Pipeline, what: str) -> None:
    """Assert that a withdrawal which is accepted now completes."""
    [id_] = await pipeline.withdraw(1)

    async def is_paid() -> bool:
        return await pipeline.status(id_) == "completed"

    await poll_until(is_paid, what=f"a withdrawal is paid after: {what}")


async def becomes_a_dead_letter(pipeline: Pipeline, number: int, what: str) -> None:
    await poll_until(
        lambda: pipeline.queued("withdrawals.XQ") >= number, what=f"{number} dead letters after: {what}"
    )


def restarts(pipeline: Pipeline) -> int:
    """Number of times that a consumer was replaced."""
    return pipeline.actors.log.read_text().count("Restarting consumer")


async def test_each_odd_body_is_a_dead_letter_and_stops_nobody(pipeline: Pipeline) -> None:
    """Goal: nothing that can stand in a body is anything but a dead letter; payouts go on, no consumer dies of it."""
    pipeline.start()
    await paid_after(pipeline, "nothing")
    before = restarts(pipeline)
    for number, (name, odd) in enumerate(BODIES.items(), 1):
        publish(pipeline, (odd, PERSISTENT))
        await becomes_a_dead_letter(pipeline, number, name)
        await paid_after(pipeline, name)
    assert pipeline.queued("withdrawals.XQ") == len(BODIES)
    assert pipeline.queued() == 0
    assert restarts(pipeline) == before
    assert pipeline.actors.stop() == 0


async def test_odd_properties_make_no_difference(pipeline: Pipeline) -> None:
    """Goal: whatever stands in a message's properties, its body counts: dead letter, and payouts go on."""
    pipeline.start()
    await paid_after(pipeline, "nothing")
    before = restarts(pipeline)
    for number, (name, properties) in enumerate(PROPERTIES.items(), 1):
        publish(pipeline, (body(), properties))
        await becomes_a_dead_letter(pipeline, number, name)
        await paid_after(pipeline, name)
    assert restarts(pipeline) == before
    letters = [letter for letter, _ in look_through(pipeline.broker, lambda _: False)]
    assert len(letters) == len(PROPERTIES), "they can be looked through all the same"


async def test_a_message_that_expires_is_a_dead_letter(pipeline: Pipeline) -> None:
    """Goal: a message that expires before an actor takes it goes there by itself and disturbs nothing."""
    pipeline.start(pipeline.bank, pipeline.relay, pipeline.reconciler)
    [id_] = await pipeline.withdraw(1)
    await poll_until(lambda: pipeline.queued() == 1)
    publish(pipeline, (body(), pika.BasicProperties(expiration="1")))
    pipeline.start(pipeline.actors)
    await becomes_a_dead_letter(pipeline, 1, "it has expired")
    await pipeline.becomes(id_, "completed")


async def test_foreign_options_decide_nothing(pipeline: Pipeline) -> None:
    """Goal: a good message that says `eta` in a thousand years is taken at once: when it is due we know ourselves."""
    pipeline.start(pipeline.bank, pipeline.relay)
    [id_] = await pipeline.withdraw(1)
    await poll_until(lambda: pipeline.queued() == 1)
    connection = pika.BlockingConnection(pika.URLParameters(pipeline.settings.rabbitmq_url))
    connection.channel().queue_purge(messages.QUEUE)
    connection.close()
    user = (await pipeline.row(id_))["user_id"]
    publish(
        pipeline,
        (body(args=[str(id_), user], options={"eta": 33_000_000_000_000, "time_limit": 0}), PERSISTENT),
    )
    pipeline.start(pipeline.actors)
    await pipeline.becomes(id_, "completed")
    assert pipeline.queued("withdrawals.XQ") == 0


async def test_a_message_in_another_users_name_is_a_dead_letter(pipeline: Pipeline) -> None:
    """Goal: a withdrawal's id with another user's: a dead letter, whatever state the withdrawal is in."""
    pipeline.start()
    [id_] = await pipeline.withdraw(1)
    await pipeline.becomes(id_, "completed")
    publish(pipeline, (body(args=[str(id_), "somebody-else"]), PERSISTENT))
    await becomes_a_dead_letter(pipeline, 1, "another user's name")


async def test_the_delay_queue_is_no_hole(pipeline: Pipeline) -> None:
    """Goal: a foreign message in the delay queue is handled like the others: none stays unanswered."""
    pipeline.start()
    [id_] = await pipeline.withdraw(1)
    await pipeline.becomes(id_, "completed")
    good = body(args=[str(id_), (await pipeline.row(id_))["user_id"]])
    publish(
        pipeline, (b"junk", PERSISTENT), (body(), PERSISTENT), (good, PERSISTENT), queue=messages.DELAY_QUEUE
    )
    await becomes_a_dead_letter(pipeline, 2, "junk in the delay queue")
    assert pipeline.actors.stop() == 0
    assert pipeline.queued(messages.DELAY_QUEUE) == 0, "answered, else it would be back now"


async def test_poison_that_came_before_its_consumer_died_is_rejected_the_next_time(
    pipeline: Pipeline,
) -> None:
    """Goal: killed with a heap of it, the actors reject it when it is delivered again, and pay."""
    pipeline.start(pipeline.bank, pipeline.relay, pipeline.reconciler, pipeline.actors)
    await paid_after(pipeline, "nothing")
    pipeline.actors.kill()
    publish(pipeline, *[(odd, PERSISTENT) for odd in BODIES.values()])
    connection = pika.BlockingConnection(pika.URLParameters(pipeline.settings.rabbitmq_url))
    channel = connection.channel()
    while channel.basic_get(messages.QUEUE)[0] is not None:
        pass
    connection.close()  # all of it is marked as delivered before
    pipeline.actors.start()
    await paid_after(pipeline, "a heap of poison")
    await becomes_a_dead_letter(pipeline, len(BODIES), "a heap of poison")


async def test_a_flood_of_it_fills_no_log(pipeline: Pipeline) -> None:
    """Goal: thousands of odd messages cost their dead letters and a line now and then, not a line each."""
    pipeline.start()
    await paid_after(pipeline, "nothing")
    lines = len(pipeline.actors.log.read_text().splitlines())
    publish(pipeline, *[(b"junk", PERSISTENT)] * 3_000)
    await becomes_a_dead_letter(pipeline, 3_000, "a flood")
    await paid_after(pipeline, "a flood")
    logged = pipeline.actors.log.read_text().splitlines()[lines:]
    assert any("message_rejected" in line for line in logged)
    assert len(logged) < 100


async def test_an_operator_sees_and_drops_them(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: `wbs dlq` shows any dead letter in readable form, and drops foreign ones."""
    pipeline.start()
    await paid_after(pipeline, "nothing")
    publish(pipeline, *[(odd, PERSISTENT) for odd in BODIES.values()])
    publish(pipeline, *[(body(), properties) for properties in PROPERTIES.values()])
    total = len(BODIES) + len(PROPERTIES)
    await becomes_a_dead_letter(pipeline, total, "everything odd")
    code, printed = await wbs_dlq(pipeline, monkeypatch, "list")
    assert code == 0
    assert f"other dead letters: {total}" in printed
    assert f"… and {total - 20} more" in printed
    assert all(character.isprintable() for line in printed.splitlines() for character in line)
    assert all(len(line) < 250 for line in printed.splitlines())
    code, printed = await wbs_dlq(pipeline, monkeypatch, "list", "--json")
    assert json.loads(printed)["other_dead_letters"] == total
    assert (await wbs_dlq(pipeline, monkeypatch, "show", body_id()))[0] == 1
    assert (await wbs_dlq(pipeline, monkeypatch, "replay", body_id()))[0] == 1
    assert (await wbs_dlq(pipeline, monkeypatch, "discard", body_id(), "--yes"))[0] == 0
    assert (await wbs_dlq(pipeline, monkeypatch, "replay", "--all"))[0] == 0
    assert (await wbs_dlq(pipeline, monkeypatch, "discard", "--others"))[0] == 1, "not without a yes"
    assert (await wbs_dlq(pipeline, monkeypatch, "discard", "--others", "--yes"))[0] == 0
    assert pipeline.queued("withdrawals.XQ") == 0


def body_id() -> str:
    """The withdrawal, which there is not, of the good bodies."""
    id_: str = GOOD["args"][0]
    return id_

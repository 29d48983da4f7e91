"""Processes that run and can't do their work say so, and name the right one."""

import json

import pika
import pytest

from actors import messages
from tests.conftest import delete_queues
from tests.integration.actors.pipeline import Pipeline
from tests.integration.actors.processes import Process
from tests.polling import poll_until

RAISES = """
create function raises() returns trigger language plpgsql as $$ begin raise exception 'odd'; end $$;
create trigger raises before update on withdrawals for each row execute function raises()
"""


async def said_by(pipeline: Pipeline, kind: str) -> list[dict[str, object]]:
    """What the processes of a kind say, those that have beaten of late."""
    rows = await pipeline.execute(
        "select detail from heartbeats where kind = $1 and at > now() - interval '5 s'", kind
    )
    return [json.loads(row["detail"]) for row in rows]


@pytest.mark.parametrize(
    ("fault", "undone", "kind", "trouble"),
    [
        (
            "alter table leases rename to away",
            "alter table away rename to leases",
            "reconciler",
            "lead: database_misconfigured",
        ),
        (
            "alter table bank_cursor rename to away",
            "alter table away rename to bank_cursor",
            "reconciler",
            "read_books: database_misconfigured",
        ),
        (
            "alter table outbox rename to away",
            "alter table away rename to outbox",
            "relay",
            "outbox: database_misconfigured",
        ),
        (RAISES, "drop function raises cascade", "actors", "withdrawals: database_misconfigured"),
    ],
    ids=["lead", "books", "outbox", "withdrawals"],
)
async def test_what_a_process_cannot_do(
    pipeline: Pipeline, fault: str, undone: str, kind: str, trouble: str
) -> None:
    """Goal: what fails in the database is told as that, by who meets it; RabbitMQ and the bank are not blamed; once it
    works again nothing is told, and what waited goes on."""

    async def is_well() -> bool:
        found = await said_by(pipeline, kind)
        return bool(found) and all(
            "trouble" not in one and one.get("rabbitmq", "ok") == "ok" and one.get("bank", "ok") == "ok"
            for one in found
        )

    async def is_told() -> bool:
        [one] = await said_by(pipeline, kind)
        assert one.get("rabbitmq", "ok") == "ok"
        assert one.get("bank", "ok") == "ok"
        return trouble in str(one.get("trouble"))

    pipeline.start()
    await poll_until(is_well)
    if kind == "actors":
        await pipeline.withdraw(1)
    for statement in fault.split(";\n"):
        await pipeline.execute(statement)
    if kind == "actors":
        await pipeline.withdraw(1)
    await poll_until(is_told)
    await pipeline.execute(undone)
    await poll_until(is_well)
    await pipeline.withdraw(1)
    await pipeline.all_ended()
    await pipeline.audit()


async def test_a_stand_by_says_nothing_of_the_bank(pipeline: Pipeline) -> None:
    """Goal: a reconciler that does not lead says nothing about the bank, so it hides nothing that the leader sees."""
    pipeline.start()
    second = Process("actors.reconciler", pipeline.reconciler.log.parent, pipeline.environment)
    second.start()

    async def one_sees_the_bank(as_: str) -> bool:
        found = await said_by(pipeline, "reconciler")
        return sorted((one["leads"], one.get("bank")) for one in found) == [(False, None), (True, as_)]

    try:
        await poll_until(lambda: one_sees_the_bank("ok"))
        pipeline.bank.kill()
        await poll_until(lambda: one_sees_the_bank("away: not connected: ConnectionRefusedError"))
    finally:
        second.ensure_gone()


async def test_actors_that_get_no_messages(pipeline: Pipeline, rabbitmq_url: str) -> None:
    """Goal: actors report that they can't read the queue, although the relay publishes; once they can, they pay."""
    pipeline.start()
    await poll_until(lambda: sees_rabbitmq(pipeline, "relay", "ok"))
    await poll_until(lambda: sees_rabbitmq(pipeline, "actors", "ok"))
    delete_queues(rabbitmq_url)
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq_url))
    try:
        connection.channel().queue_declare(
            messages.QUEUE, exclusive=True
        )  # another's: publish yes, consume no
        await poll_until(lambda: sees_rabbitmq(pipeline, "actors", "away"))
    finally:
        connection.close()
    await poll_until(lambda: sees_rabbitmq(pipeline, "actors", "ok"))
    await pipeline.withdraw(1)
    await pipeline.all_ended()


async def sees_rabbitmq(pipeline: Pipeline, kind: str, as_: str) -> bool:
    """Whether the processes of a kind say this of RabbitMQ."""
    found = await said_by(pipeline, kind)
    return bool(found) and all(one["rabbitmq"] == as_ for one in found)

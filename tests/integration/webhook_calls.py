"""What is said to the database about webhooks, each a call by itself. See calls.py."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from db import events, webhook_turns, webhooks
from db.connections import Reader, connect, transaction, understood
from db.lists import LAST_ID
from db.webhook_turns import Patience, Progress
from db.webhooks import Change, Delivery
from runtime.settings import Settings
from tests.integration.db.conftest import charge
from tests.integration.loop import Direct, new_user
from wallet.errors import Unavailable, WebhookNotFound, WebhooksLimitExceeded
from wallet.ids import uuid7_sequence

_CHANGE = Change("https://other.example/", True, None, True, "other", "enabled")


@asynccontextmanager
async def _endpoint(settings: Settings) -> AsyncIterator[tuple[Reader, UUID]]:
    """An endpoint, and a reader. That there is none is a lie here, as any other."""
    reader = Reader(settings.database, 1)
    id = uuid4()
    try:
        await understood(
            webhooks.create,
            reader,
            id,
            "https://shop.example/",
            ["charge"],
            "a shop",
            webhooks.new_secret(),
            None,
            "eve",
        )
        yield reader, id
    except (WebhookNotFound, WebhooksLimitExceeded) as lie:
        raise Unavailable(str(lie)) from lie
    finally:
        reader.terminate()


async def webhook_endpoints(settings: Settings, direct: Direct) -> None:
    """A gateway makes an endpoint, changes it, has it told again, and removes it."""
    await direct.connection.execute("delete from webhook_endpoints")
    async with _endpoint(settings) as (reader, id):
        if id not in {view.id for view in await understood(webhooks.listed, reader, None)}:
            raise Unavailable("it is not listed")
        await understood(webhooks.change, reader, None, id, _CHANGE)
        old = await understood(webhooks.signed, reader, None, id)
        await understood(webhooks.rotate, reader, None, id, webhooks.new_secret())
        signed = await understood(webhooks.signed, reader, None, id)
        if len(signed.secrets) != 2 or old.secrets[0] not in signed.secrets:
            raise Unavailable("not rotated")
        await understood(webhooks.deliveries, reader, id, LAST_ID, None, 10)
        await understood(webhooks.deliver_again, reader, id, 1, 3)
        await understood(webhooks.rewind, reader, id, 0)
        if (await understood(webhooks.get, reader, None, id)).delivered_seq != 0:
            raise Unavailable("not rewound")
        await understood(webhooks.delete, reader, None, id)
    assert not await direct.connection.fetchval("select count(*) from webhook_endpoints where id = $1", id)


async def webhook_deliveries(settings: Settings, direct: Direct) -> None:
    """A courier rings, a relay tells, an actor takes a turn and writes down what it did."""
    await direct.connection.execute("delete from webhook_endpoints")
    async with _endpoint(settings) as (reader, id):
        await direct.ledger.submit(charge(1, user=new_user()))
        last = (await events.number_batches(direct.connection, None)).last_seq
        await _told(settings, id)
        turn = uuid4()
        taken = await understood(webhook_turns.take, reader, id, turn)
        if taken is None:
            raise Unavailable("the turn is another's")
        at = datetime.now(UTC)
        call = Delivery(
            next(uuid7_sequence(at)), last, uuid4(), "charge.completed", 1, "refused", 400, None, "no", 1, at
        )
        progress = Progress([call], [(last, 3, timedelta(0))], [], False)
        before = taken.delivered_seq
        if await _written(reader, id, turn, before, last, progress) != "enabled":
            raise Unavailable("not written down")
        if await understood(webhook_turns.parked, reader, id) != 1:
            raise Unavailable("not parked")
        due = await understood(webhook_turns.due, reader, id, timedelta(days=3), 10)
        if [one.seq for one in due] != [last]:
            raise Unavailable("not due")
        await understood(webhook_turns.give_back, reader, id, turn)
    noted = "select count(*) from webhook_deliveries where endpoint_id = $1"
    assert await direct.connection.fetchval(noted, id) == 1


async def _told(settings: Settings, id: UUID) -> None:
    connection = await connect(settings.database, command_timeout_s=0.4)
    try:
        await webhook_turns.ring(connection)
        await webhook_turns.needed_from(connection)
        if not await webhook_turns.are_waiting(connection):
            raise Unavailable("nothing waits")
        async with transaction(connection):
            if id not in await webhook_turns.claim(connection, 10):
                raise Unavailable("not claimed")
            await webhook_turns.told(connection, [id])
    finally:
        connection.terminate()


async def _written(
    reader: Reader, id: UUID, turn: UUID, before: int, now: int, progress: Progress
) -> str | None:
    return await understood(webhook_turns.write_down, reader, id, turn, before, now, progress, Patience())


WEBHOOK_CALLS: dict[str, Callable[[Settings, Direct], Awaitable[None]]] = {
    "webhook endpoints": webhook_endpoints,
    "webhook deliveries": webhook_deliveries,
}

"""GET /events and /events/stream: pages, waiting, the stream and where it goes on, and the bounds of both."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from db import events
from db.courier import CourierSession
from runtime.settings import Settings
from tests.integration.db.conftest import waiting_for_locks
from tests.integration.gateway.conftest import Api, Gateway, new_key
from tests.polling import poll_until
from wallet.events import KINDS, TYPES


class Courier:
    """Gives numbers when a test says so."""

    def __init__(self, session: CourierSession) -> None:
        self._session = session

    async def number(self) -> None:
        assert await self._session.lead()
        while (await self._session.number()).batches:
            pass


@pytest_asyncio.fixture
async def courier(settings: Settings) -> AsyncIterator[Courier]:
    """A courier on the test's database."""
    session = CourierSession(settings.database, frozenset(KINDS))
    yield Courier(session)
    await session.close()


async def read_stream(
    session: aiohttp.ClientSession, gateway: Gateway, headers: dict[str, str] | None = None, query: str = ""
) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the events of a stream as an EventSource reads them, until the server ends it."""
    async with session.get(f"{gateway.url}/events/stream{query}", headers=headers or {}) as reply:
        assert reply.status == 200, await reply.read()
        assert reply.content_type == "text/event-stream"
        fields: dict[str, str] = {}
        async for line in reply.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
                continue
            if "data" in fields:
                event = json.loads(fields["data"])
                assert (fields["id"], fields["event"]) == (str(event["seq"]), event["type"])
                yield event
            fields = {}


async def take(events: AsyncIterator[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    """Return the next events."""
    async with asyncio.timeout(20):
        return [await anext(events) for _ in range(number)]


async def all_of(events: AsyncIterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the events of a stream that ends."""
    return [event async for event in events]


async def test_pages(api: Api, courier: Courier) -> None:
    """Goal: the sequence page by page, filtered or not, with its end and where to go on; user ids as elsewhere."""
    empty = (await api.get("/events")).json
    assert (empty["events"], empty["last_seq"], empty["next_after"]) == ([], 0, 0)
    charged = [(await api.charge(7, n, metadata={"n": n})).json for n in range(1, 6)]
    await api.withdraw("bob", 1)  # refused: makes no event
    await api.withdraw(7, 2)
    await courier.number()
    page = (await api.get("/events", limit=4)).json
    assert [event["seq"] for event in page["events"]] == [1, 2, 3, 4]
    assert (page["last_seq"], page["next_after"]) == (6, 4)
    first = page["events"][0]
    assert first["object"] == {
        **{
            name: charged[0][name]
            for name in ("id", "currency", "amount", "metadata", "release_at", "created_at")
        },
        "user_id": 7,
        "reversal": None,
    }
    assert (first["user_ids"], first["version"], first["epoch"]) == ([7], 1, page["epoch"])
    rest = (await api.get("/events", after=page["next_after"])).json
    assert [event["type"] for event in rest["events"]] == ["charge.completed", "withdrawal.pending"]
    for query in ({"type": "withdrawal"}, {"type": "withdrawal.*"}, {"type": "hold,withdrawal.pending"}):
        found = (await api.get("/events", **query)).json
        assert ([event["seq"] for event in found["events"]], found["next_after"]) == ([6], 6)
    assert [e["seq"] for e in (await api.get("/events", user_id=7)).json["events"]] == [1, 2, 3, 4, 5, 6]
    assert (await api.get("/events", user_id="8")).json["events"] == []
    gone = await api.get("/events", after=7)
    assert (gone.status, gone.code) == (410, "events_gone")
    assert {name: gone.json[name] for name in ("epoch", "oldest_seq", "last_seq")} == {
        "epoch": page["epoch"],
        "oldest_seq": 1,
        "last_seq": 6,
    }
    for position in ({}, {"after": 0}, {"after": 3}):
        other = await api.get("/events", epoch="5f0c1b2a-9d3e-4f60-8000-2d1f6b7a9c01", **position)
        assert (other.status, other.code) == (410, "events_gone"), position


async def test_events_that_go_while_they_are_asked_for(
    api: Api,
    session: aiohttp.ClientSession,
    gateway: Gateway,
    courier: Courier,
    connection: asyncpg.Connection,
) -> None:
    """Goal: what is removed after the position was found right is not left out unsaid."""
    for _ in range(5):
        await api.charge()
        await courier.number()

    async def both_wait() -> bool:
        return await waiting_for_locks(connection) == 2

    stream = all_of(read_stream(session, gateway, query="?after=1"))
    async with connection.transaction():
        await connection.execute("lock table transfers")  # which events are told from
        page, told = asyncio.ensure_future(api.get("/events", after=1)), asyncio.ensure_future(stream)
        await poll_until(both_wait)
        await events.forget(connection, timedelta(0), 3)
    gone = await page
    assert (gone.status, gone.code, gone.json["oldest_seq"]) == (410, "events_gone", 4)
    async with asyncio.timeout(20):
        assert await told == []
    assert (await api.get("/events/stream", after=1)).code == "events_gone"
    assert [event["seq"] for event in (await api.get("/events")).json["events"]] == [4, 5]


@pytest.mark.parametrize("path", ["/events", "/events/stream"])
async def test_bad_parameters(api: Api, path: str) -> None:
    """Goal: what can't be read is refused by name, before anything is sent."""
    for query in (
        "after=-1",
        "after=x",
        "after=1.5",
        "epoch=1",
        "type=charge.made",
        "type=",
        "user_id=%20",
        "no=1",
    ):
        reply = await api.get(f"{path}?{query}")
        assert reply.bad_fields == {query.partition("=")[0]}, query
    if path == "/events":
        for query in ("limit=0", "limit=1001", "wait=31", "wait=-1"):
            assert (await api.get(f"{path}?{query}")).bad_fields == {query.partition("=")[0]}
    else:
        bad = await api.call("GET", path, headers={"Last-Event-ID": "x"})
        assert bad.bad_fields == {"Last-Event-ID"}
        gone = await api.call("GET", path, headers={"Last-Event-ID": "99"})
        assert gone.code == "events_gone"


async def test_waiting(api: Api, courier: Courier) -> None:
    """Goal: a read that waits answers with the next event that matches, and not for others."""
    waiting = asyncio.create_task(api.get("/events", wait=20, type="withdrawal"))
    await api.charge(1, 10)
    await courier.number()
    await poll_until(lambda: True, what="a turn")
    assert not waiting.done()
    await api.withdraw(1, 5)
    await courier.number()
    page = (await waiting).json
    assert [(event["seq"], event["type"]) for event in page["events"]] == [(2, "withdrawal.pending")]
    late = (await api.get("/events", after=2, wait=0.2)).json
    assert (late["events"], late["next_after"]) == ([], 2)


async def test_the_stream(
    api: Api, gateway: Gateway, session: aiohttp.ClientSession, courier: Courier
) -> None:
    """Goal: each client gets each event once, in order, from where it says on; one filtered, one far behind."""
    for n in range(1, 4):
        await api.charge(1, n)
    await courier.number()
    everything = read_stream(session, gateway)
    behind = read_stream(session, gateway, {"Last-Event-ID": "2"})
    filtered = read_stream(session, gateway, query="?type=withdrawal&after=1")
    async with aclosing(everything), aclosing(behind), aclosing(filtered):
        assert [event["seq"] for event in await take(everything, 3)] == [1, 2, 3]
        assert [event["seq"] for event in await take(behind, 1)] == [3]
        await api.withdraw(1, 1)
        await courier.number()
        last = [(await take(stream, 1))[0] for stream in (everything, behind, filtered)]
        assert [event["seq"] for event in last] == [4, 4, 4]
        assert last[0] == (await api.get("/events", after=3)).json["events"][0]


async def test_hundreds_of_events_behind(
    api: Api, gateway: Gateway, session: aiohttp.ClientSession, courier: Courier
) -> None:
    """Goal: a client that is many pages behind gets all, and many clients get the same."""
    items = [{"user_id": 1, "amount": 1, "idempotency_key": new_key()} for _ in range(700)]
    assert (await api.post("/charges", items)).status == 200
    await courier.number()

    async def read() -> list[int]:
        stream = read_stream(session, gateway)
        async with aclosing(stream):
            return [event["seq"] for event in await take(stream, 700)]

    assert await asyncio.gather(*(read() for _ in range(30))) == [list(range(1, 701))] * 30


async def test_a_drain_ends_streams(
    api: Api,
    gateway: Gateway,
    session: aiohttp.ClientSession,
    courier: Courier,
    start_gateway: Callable[..., Any],
) -> None:
    """Goal: a gateway that ends, ends its streams in order; the client goes on at another one without a gap."""
    await api.charge(1, 1)
    await courier.number()
    stream = read_stream(session, gateway)
    assert [event["seq"] for event in await take(stream, 1)] == [1]
    ending = asyncio.create_task(asyncio.to_thread(gateway.stop))
    async with asyncio.timeout(20):
        assert [event async for event in stream] == []  # the end is an end, no broken connection
    assert await ending == 0
    other = await start_gateway()
    for n in range(2, 4):
        await Api(other.url, session).charge(1, n)
    await courier.number()
    stream = read_stream(session, other, {"Last-Event-ID": "1"})
    async with aclosing(stream):
        assert [event["seq"] for event in await take(stream, 2)] == [2, 3]


async def test_another_epoch_ends_streams(
    api: Api,
    gateway: Gateway,
    session: aiohttp.ClientSession,
    courier: Courier,
    connection: asyncpg.Connection,
) -> None:
    """Goal: when the database was restored, streams end, and the old position is refused with the figures."""
    await api.charge(1, 1)
    await courier.number()
    stream = read_stream(session, gateway)
    await take(stream, 1)
    await connection.execute(
        "update event_sequence set epoch = gen_random_uuid(), first_seq = 1000001, last_seq = 1000000"
    )
    async with asyncio.timeout(20):
        assert [event async for event in stream] == []
    refused = await api.call("GET", "/events/stream", headers={"Last-Event-ID": "1"})
    assert refused.code == "events_gone"


async def test_the_document(api: Api) -> None:
    """Goal: the document tells every type of event, as a webhook with its body."""
    document = (await api.get("/openapi.json")).json
    assert set(document["webhooks"]) == set(TYPES)
    assert document["components"]["schemas"]["EventType"]["enum"] == sorted(TYPES)
    for type, item in document["webhooks"].items():
        [content] = item["post"]["requestBody"]["content"].values()
        headers = {one["name"] for one in item["post"]["parameters"] if one["in"] == "header"}
        assert headers >= {"webhook-id", "webhook-timestamp", "webhook-signature"}
        assert ("traceparent" in headers) == type.startswith("withdrawal.")
        name = content["schema"]["$ref"].rpartition("/")[2]
        assert name.lower().startswith(type.partition(".")[0])
        assert name in document["components"]["schemas"]

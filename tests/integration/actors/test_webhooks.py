"""Webhooks: real receivers are told every event, in order, signed; one that hangs or refuses holds up no other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from aiohttp import web

import actors.webhook_turn
from actors.webhook_turn import GONE
from actors.webhook_turns import WebhookTurns
from db import events, webhook_turns, webhooks
from db.connections import Reader
from db.ledger import Ledger
from db.lists import LAST_ID
from db.webhook_turns import Patience
from db.webhooks import Change, WebhookView
from runtime.settings import Settings
from tests.integration.actors.receiver import Receiver, in_order, number, rung
from tests.integration.db.conftest import charge, withdraw
from tests.polling import poll_until
from wallet.errors import WebhookNotFound, WebhooksLimitExceeded
from wallet.traces import Trace

MS = timedelta(milliseconds=1)
HURRIED = Patience(20 * MS, 100 * MS, timedelta(seconds=30), 50 * MS, (0.01, 0.01))
"""An hour in a tenth of a second."""
TRACE = Trace("shop-17", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")

Process = Callable[..., WebhookTurns]
Make = Callable[..., Awaitable[tuple[UUID, str]]]


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = await Receiver().start()
    yield receiver
    await receiver.stop()


@pytest_asyncio.fixture
async def bell(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """The connection of what stands for courier and relay."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def process(make_settings: Callable[..., Settings]) -> AsyncIterator[Process]:
    """`process()`: what delivers, as in one more actor process."""
    started: list[WebhookTurns] = []

    def start(patience: Patience = HURRIED, private: str = "1") -> WebhookTurns:
        started.append(WebhookTurns(make_settings(WBS_WEBHOOKS_PRIVATE=private), patience))
        return started[-1]

    yield start
    for one in started:
        await one.stop()


@pytest.fixture
def make(reader: Reader) -> Make:
    """`await make(url)`: an endpoint; returns its identifier and its secret."""

    async def create(url: str, types: list[str] | None = None, prefix: str | None = None) -> tuple[UUID, str]:
        secret = webhooks.new_secret()
        view = await webhooks.create(reader, uuid4(), url, types, None, secret, prefix, None)
        return view.id, secret

    return create


async def charges(ledger: Ledger, count: int, user: str = "ann") -> None:
    for _ in range(count):
        await ledger.submit(charge(1, user=user))


async def statuses(reader: Reader, id: UUID, status: str | None = None) -> list[int | None]:
    found = await webhooks.deliveries(reader, id, LAST_ID, status, 1000)
    return [one.status_code for one in reversed(found)]


async def until(reader: Reader, id: UUID, holds: Callable[[WebhookView], bool], what: str) -> WebhookView:
    async def is_so() -> bool:
        return holds(await webhooks.get(reader, None, id))

    await poll_until(is_so, 20.0, what=what)
    return await webhooks.get(reader, None, id)


async def test_down_for_an_hour_it_gets_everything_in_order(
    ledger: Ledger,
    reader: Reader,
    connection: asyncpg.Connection,
    bell: asyncpg.Connection,
    receiver: Receiver,
    process: Process,
    make: Make,
) -> None:
    """Goal: after an outage every event comes, once each, in order, signed as the official library wants it."""
    id, secret = await make(receiver.url)
    async with rung(bell, process()):
        await charges(ledger, 5)
        await poll_until(lambda: len(receiver.received) == 5, what="the first events")
        await receiver.stop()
        await charges(ledger, 150)
        failing = await until(reader, id, lambda view: view.failing_since is not None, "it is failing")
        assert failing.next_attempt_at is not None

        async def was_tried() -> bool:
            return len(await statuses(reader, id, "unreachable")) > 3

        await poll_until(was_tried, what="several tries")
        await receiver.start()
        last = await number(connection)
        view = await until(reader, id, lambda view: view.delivered_seq >= last, "all is told")
    assert (view.failing_since, view.status, view.parked) == (None, "enabled", 0)
    assert receiver.seqs == list(range(last - 154, last + 1))
    page = await events.page(reader, last - 155, 200)
    assert [one.body for one in receiver.received] == [event.json() for event in page.events]
    for one in receiver.received:
        assert one.verify(secret)["id"] == one.headers["webhook-id"]


async def test_one_that_hangs_delays_no_other(
    ledger: Ledger, bell: asyncpg.Connection, receiver: Receiver, process: Process, make: Make
) -> None:
    """Goal: endpoints that hang delay no other: it is told each event once, in order, well before any of them ends."""
    hanging = await Receiver().start()
    released = asyncio.Event()

    async def hang(_: int) -> web.Response:
        await released.wait()
        return web.Response(status=204)

    hanging.answer = hang
    for _ in range(20):
        await make(hanging.url)
    secret = (await make(receiver.url))[1]
    try:
        async with rung(bell, process()):
            await charges(ledger, 1)
            await poll_until(lambda: len(hanging.received) == 20, what="all of them hang")
            await charges(ledger, 30)
            await poll_until(lambda: len(receiver.received) == 31, 5.0, what="the other one is told")
            assert len(hanging.received) == 20
            assert receiver.seqs == list(range(receiver.seqs[0], receiver.seqs[0] + 31))
            for one in receiver.received:
                one.verify(secret)
            released.set()
    finally:
        await hanging.stop()


async def test_a_crash_in_a_turn_leaves_no_gap(
    ledger: Ledger,
    connection: asyncpg.Connection,
    bell: asyncpg.Connection,
    receiver: Receiver,
    process: Process,
    make: Make,
    reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Goal: killed between any two calls, what was not written down comes again: at least once, in order, no gap."""
    id, _ = await make(receiver.url)
    await charges(ledger, 60)
    last = await number(connection)
    taken = asyncio.Event()

    async def slow(seq: int) -> web.Response:
        if seq == last - 25:
            taken.set()
            await asyncio.Event().wait()
        return web.Response(status=204)

    receiver.answer = slow
    dying = process()
    dying.begin(id)
    await asyncio.wait_for(taken.wait(), 10)
    monkeypatch.setattr(webhook_turns, "give_back", _nothing)
    for task in list(dying._turns.values()):
        task.cancel()
    await poll_until(lambda: not dying._turns, what="it is dead")
    monkeypatch.undo()
    receiver.answer = lambda _: web.Response(status=204)
    async with rung(bell, process()):
        await connection.execute("update webhook_endpoints set leased_until = clock_timestamp()")
        await until(reader, id, lambda view: view.delivered_seq >= last, "all is told")
    assert in_order(receiver.seqs)
    assert set(receiver.seqs) == set(range(last - 59, last + 1))
    assert len(receiver.seqs) <= 60 + 21


async def test_two_processes_have_one_turn(
    ledger: Ledger,
    connection: asyncpg.Connection,
    bell: asyncpg.Connection,
    receiver: Receiver,
    process: Process,
    make: Make,
    reader: Reader,
) -> None:
    """Goal: two actors that are told at once call the endpoint once for each event."""
    id, _ = await make(receiver.url)
    async with rung(bell, process(), process(), process()):
        for _ in range(5):
            await charges(ledger, 8)
        last = await number(connection)
        await until(reader, id, lambda view: view.delivered_seq >= last, "all is told")
    assert receiver.seqs == list(range(last - 39, last + 1))


async def test_a_refused_event_waits_by_itself(
    ledger: Ledger,
    connection: asyncpg.Connection,
    bell: asyncpg.Connection,
    receiver: Receiver,
    process: Process,
    make: Make,
    reader: Reader,
) -> None:
    """Goal: an event that a reachable endpoint refuses is parked; the others go on; it comes when it is taken."""
    id, _ = await make(receiver.url)
    await charges(ledger, 10)
    last = await number(connection)
    bad = last - 5
    receiver.answer = lambda seq: web.Response(status=400 if seq == bad else 200, text="no " * 200)
    async with rung(bell, process()):
        await until(reader, id, lambda view: view.delivered_seq >= last and view.parked == 1, "parked")
        assert [seq for seq in receiver.seqs if seq != bad] == [
            seq for seq in range(last - 9, last + 1) if seq != bad
        ]
        receiver.answer = lambda _: web.Response(status=200)
        await until(reader, id, lambda view: view.parked == 0, "it is taken")
    refused = await webhooks.deliveries(reader, id, LAST_ID, "refused", 100)
    assert [one.attempt for one in reversed(refused)][:3] == [1, 2, 3]
    assert {one.seq for one in refused} == {bad}
    assert {len(one.response or "") for one in refused} == {200}


async def test_who_refuses_everything_keeps_its_place(
    ledger: Ledger,
    connection: asyncpg.Connection,
    bell: asyncpg.Connection,
    receiver: Receiver,
    process: Process,
    make: Make,
    reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Goal: beyond a number of parked events a refusal counts as no answer; at last the endpoint is disabled."""
    monkeypatch.setattr(actors.webhook_turn, "PARKED_MAX", 3)
    id, _ = await make(receiver.url)
    await charges(ledger, 8)
    last = await number(connection)
    receiver.answer = lambda _: web.Response(status=500)
    async with rung(bell, process(HURRIED._replace(give_up_after=timedelta(seconds=0.5)))):
        view = await until(reader, id, lambda view: view.status == "disabled", "it is disabled")
    assert "no answer since" in (view.disabled_reason or "")
    assert view.delivered_seq == last - 5


async def test_gone_is_gone(
    ledger: Ledger,
    connection: asyncpg.Connection,
    bell: asyncpg.Connection,
    receiver: Receiver,
    process: Process,
    make: Make,
    reader: Reader,
) -> None:
    """Goal: 410 disables at once; enabled again, it is told what came meanwhile."""
    id, _ = await make(receiver.url)
    await charges(ledger, 3)
    last = await number(connection)
    receiver.answer = lambda _: web.Response(status=410)
    async with rung(bell, process()):
        view = await until(reader, id, lambda view: view.status == "disabled", "it is disabled")
        assert (view.disabled_reason, len(receiver.received)) == (GONE, 1)
        receiver.answer = lambda _: web.Response(status=200)
        await webhooks.change(reader, None, id, Change(None, False, None, False, None, "enabled"))
        view = await until(reader, id, lambda view: view.delivered_seq >= last, "all is told")
    assert (view.status, view.disabled_reason) == ("enabled", None)


async def test_redirects_are_refusals(
    ledger: Ledger,
    bell: asyncpg.Connection,
    receiver: Receiver,
    process: Process,
    make: Make,
    reader: Reader,
) -> None:
    """Goal: nobody sends us elsewhere by a redirect."""
    elsewhere = await Receiver().start()

    def answer(_: int) -> web.Response:
        return web.Response(status=307, headers={"location": elsewhere.url})

    receiver.answer = answer
    id, _ = await make(receiver.url)
    await charges(ledger, 1)
    async with rung(bell, process()):
        await until(reader, id, lambda view: view.parked == 1, "it is parked")
    await elsewhere.stop()
    assert not elsewhere.received
    assert set(await statuses(reader, id)) == {307}


async def test_two_secrets_while_one_is_replaced(
    ledger: Ledger,
    connection: asyncpg.Connection,
    bell: asyncpg.Connection,
    receiver: Receiver,
    process: Process,
    make: Make,
    reader: Reader,
) -> None:
    """Goal: after a rotation both secrets verify; once the old one has ended only the new one does."""
    id, old = await make(receiver.url)
    new = webhooks.new_secret()
    await webhooks.rotate(reader, None, id, new)
    async with rung(bell, process()):
        await charges(ledger, 1)
        await poll_until(lambda: len(receiver.received) == 1, what="an event")
        await connection.execute("update webhook_endpoints set old_secret_until = now()")
        await charges(ledger, 1)
        await poll_until(lambda: len(receiver.received) == 2, what="another event")
    first, second = receiver.received
    assert first.verify(old) == first.verify(new)
    second.verify(new)
    assert len(second.headers["webhook-signature"].split()) == 1


async def test_an_event_comes_in_its_requests_trace(
    ledger: Ledger, bell: asyncpg.Connection, receiver: Receiver, process: Process, make: Make
) -> None:
    """Goal: a withdrawal's event names the request that made it, each call as a span of its own; no other does."""
    secret = (await make(receiver.url))[1]
    await charges(ledger, 1)
    await ledger.submit(withdraw(1, trace=TRACE))
    receiver.answer = lambda _: web.Response(status=204 if len(receiver.received) != 2 else 500)
    async with rung(bell, process()):
        await poll_until(lambda: len(receiver.received) == 3, what="the charge, and the withdrawal twice")
    charged, *withdrawn = receiver.received
    assert not {"traceparent", "x-request-id"} & set(charged.headers)
    places = [one.headers["traceparent"] for one in withdrawn]
    assert [one.headers["x-request-id"] for one in withdrawn] == [TRACE.request_id] * 2
    assert all((one[:36], one[52:]) == (TRACE.traceparent[:36], TRACE.traceparent[52:]) for one in places)
    assert len({TRACE.traceparent, *places}) == 3
    assert withdrawn[1].verify(secret)["object"]["traceparent"] == TRACE.traceparent


async def test_only_what_is_wanted(
    ledger: Ledger,
    connection: asyncpg.Connection,
    bell: asyncpg.Connection,
    process: Process,
    make: Make,
    reader: Reader,
) -> None:
    """Goal: types and a key's users decide what an endpoint is told; the place moves on over the others."""
    receivers = [await Receiver().start() for _ in range(3)]
    ids = [
        (await make(receivers[0].url, ["charge"]))[0],
        (await make(receivers[1].url, ["withdrawal.completed"]))[0],
        (await make(receivers[2].url, None, "acme-"))[0],
    ]
    async with rung(bell, process()):
        await charges(ledger, 2, "acme-1")
        await charges(ledger, 2, "other-1")
        last = await number(connection)
        for id in ids:
            await until(reader, id, lambda view: view.delivered_seq >= last, "all is looked at")
    for one in receivers:
        await one.stop()
    assert [one.seqs for one in receivers] == [list(range(last - 3, last + 1)), [], [last - 3, last - 2]]


async def test_again(
    ledger: Ledger,
    connection: asyncpg.Connection,
    bell: asyncpg.Connection,
    receiver: Receiver,
    process: Process,
    make: Make,
    reader: Reader,
) -> None:
    """Goal: one, a range, or everything since a number is told again, in order; nothing else is."""
    id, _ = await make(receiver.url)
    async with rung(bell, process()):
        await charges(ledger, 10)
        last = await number(connection)
        await until(reader, id, lambda view: view.delivered_seq >= last, "all is told")
        receiver.received.clear()
        await webhooks.deliver_again(reader, id, last - 4, last - 2)
        await until(reader, id, lambda view: view.parked == 0, "the range is told")
        assert receiver.seqs == [last - 4, last - 3, last - 2]
        receiver.received.clear()
        await webhooks.rewind(reader, id, last - 6)
        await poll_until(lambda: len(receiver.received) >= 6, what="all since")
    assert receiver.seqs == list(range(last - 5, last + 1))


async def test_what_was_not_told_is_kept(
    ledger: Ledger, connection: asyncpg.Connection, reader: Reader, make: Make
) -> None:
    """Goal: retention leaves what an enabled endpoint has not got, and no more."""
    id, _ = await make("http://127.0.0.1:9/")
    await charges(ledger, 3)
    last = await number(connection)
    assert await webhook_turns.needed_from(connection) == last - 3
    await webhooks.deliver_again(reader, id, last - 4, last - 4)
    assert await webhook_turns.needed_from(connection) == last - 5
    await webhooks.change(reader, None, id, Change(None, False, None, False, None, "disabled"))
    assert await webhook_turns.needed_from(connection) is None


async def test_a_hundred_and_no_more(reader: Reader, make: Make) -> None:
    """Goal: the number of endpoints is bounded; one that is deleted makes room, and is there no more."""
    ids = [(await make("https://shop.example/"))[0] for _ in range(webhooks.ENDPOINTS_MAX)]
    with pytest.raises(WebhooksLimitExceeded):
        await make("https://shop.example/")
    await webhooks.delete(reader, None, ids[0])
    with pytest.raises(WebhookNotFound):
        await webhooks.get(reader, None, ids[0])
    await make("https://shop.example/")


async def test_private_addresses_are_not_called(
    ledger: Ledger,
    bell: asyncpg.Connection,
    receiver: Receiver,
    process: Process,
    make: Make,
    reader: Reader,
) -> None:
    """Goal: without the setting, an endpoint at a private address is told nothing, however it got there."""
    id, _ = await make(receiver.url.replace("http://", "https://"))
    await charges(ledger, 1)
    async with rung(bell, process(private="0")):
        await until(reader, id, lambda view: view.failing_since is not None, "it is failing")
    assert not receiver.received
    assert await statuses(reader, id, "delivered") == []


async def _nothing(*_: Any) -> None:
    return None

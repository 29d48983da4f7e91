"""The Python client against a real stack: a network that loses answers, every read, users with odd names."""

import asyncio
import csv
from datetime import UTC, datetime
from io import StringIO
from itertools import islice

import httpx
import pytest

from tests.acceptance.test_api_guide import lossy
from tests.service import Service, Split
from tests.tcp import serving
from wbs_client import (
    AsyncClient,
    ChargeNotFound,
    ChargeObject,
    ChargeRequest,
    Client,
    Event,
    EventsGone,
    InvalidWebhook,
    LegRequest,
    NotCancellable,
    TransferRequest,
    WebhookNotFound,
    WithdrawalNotFound,
    WithdrawalObject,
)
from wbs_client import webhooks as deliveries
from wbs_client.event_models import EventReversal

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CLOSING = {"connection": "close"}


async def test_nothing_is_done_twice_on_a_lossy_network(service: Service) -> None:
    """Goal: with both clients everything takes effect once, though three of four answers are lost."""
    user = service.user

    def story(api: str) -> list[int]:
        with httpx.Client(headers=CLOSING) as http:
            client = Client(api, http=http)
            client.charge(user, 5000)
            assert client.withdraw(user, 1200).wait().status == "completed"
            return [item.amount for item in client.transactions(user)]

    async with lossy(service.stack.urls["api"]) as api:
        assert await asyncio.to_thread(story, api) == [-1200, 5000]
        async with httpx.AsyncClient(headers=CLOSING) as http:
            client = AsyncClient(api, http=http)
            await client.charge(user, 70)
            pending = await client.withdraw(user, 20, destination="test:decline:closed")
            declined = await pending.wait()
            with pytest.raises(NotCancellable):
                await pending.cancel()
    assert (declined.status, declined.status.ended) == ("failed", True)
    assert declined.failure is not None
    assert declined.failure.code == "closed"
    assert await service.split() == Split(3870)


async def test_all_that_can_be_read_is_read(service: Service) -> None:
    """Goal: what was written is found by its id, by its key, in lists, in the statement and in its file."""
    user, shop = service.user, f"{service.user}-shop"
    async with AsyncClient(service.stack.urls["api"]) as client:
        charges = await client.charge_many(
            [ChargeRequest(user_id=user, amount=1000, metadata={"order": [1, None]}) for _ in range(3)]
        )
        key = f"{user}-one"
        one = await client.charge(user, 500, idempotency_key=key)
        assert [await client.find_charge(key), await client.get_charge(one.id)] == 2 * [
            await client.find_charge(key)
        ]
        assert [item.id async for item in client.charges(user)] == [
            one.id,
            *(r.get().id for r in charges[::-1]),
        ]
        assert (await client.reverse_charge(one.id, 100, reason="too much")).reverses == one.id
        legs = [LegRequest(shop, 200), LegRequest(shop, 100, datetime(2100, 1, 1, tzinfo=UTC))]
        moves = [TransferRequest(from_user_id=user, legs=legs), TransferRequest(from_user_id=shop, amount=1)]
        moved, wrong = await client.transfer_many(moves)
        assert [wrong.status, moved.get().legs[1].release_at] == [422, legs[1].release_at]
        assert [item async for item in client.transfers(shop, type="received")] == [
            await client.get_transfer(moved.get().id)
        ]
        assert (await client.find_transfer(moves[0].idempotency_key)).id == moved.get().id
        hold = await client.hold(user, 10, idempotency_key=f"{user}-hold")
        assert (await client.void_hold(hold.id)).status == "voided"
        assert await client.void_hold(hold.id) == await client.find_hold(f"{user}-hold")
        assert [item.id async for item in client.holds(user, status="voided")] == [hold.id]
        payout = await client.withdraw(shop, 50, idempotency_key=f"{user}-payout")
        await payout.wait()
        assert (await client.find_withdrawal(f"{user}-payout", wait=1)).withdrawal_id == payout.id
        assert [item.status async for item in client.withdrawals(shop)] == ["completed"]
        statement = await client.statement(user)
        entries = [entry async for entry in client.entries(user)]
        assert statement.entries == entries
        assert statement.closing.total == sum(entry.amount for entry in entries) == 3100
        rows = list(csv.DictReader(StringIO(await client.statement_csv(user, to=statement.to))))
        assert [row["id"] for row in rows[1:-1]] == [str(entry.id) for entry in entries]
        assert [wallet.locked for wallet in (await client.wallets(shop)).wallets] == [100]
        assert (await client.balance(shop, at=statement.to)).locked == 100
        assert (await client.currencies()).default in {
            one.code for one in (await client.currencies()).currencies
        }
        assert (await client.health()).status == "ok"
        with pytest.raises(ChargeNotFound):
            await client.get_charge(payout.id)
        with pytest.raises(WithdrawalNotFound):
            await client.find_withdrawal("none")


@pytest.mark.parametrize("name", ["a/b?c#d", "..", "%2e%2F", "&=+;", "-"])
async def test_users_with_odd_names(service: Service, name: str) -> None:
    """Goal: whatever may be a user's name is that user, in a body as in a path."""
    user = f"{name}" if name == ".." else f"{name}{service.user}"
    async with AsyncClient(service.stack.urls["api"]) as client:
        before = (await client.balance(user)).total
        charged = await client.charge(user, 7)
        assert charged.user_id == user
        assert (await client.balance(user)).total == before + 7
        assert (await client.wallets(user)).user_id == user
        assert (await anext(client.transactions(user))).id == charged.id


async def test_events_are_read_as_they_come(service: Service) -> None:
    """Goal: both clients see one sequence, as a stream and in pages, typed; a place that is none is told."""
    user, api = service.user, service.stack.urls["api"]
    async with AsyncClient(api) as client:
        charged = await client.charge(user, 500, metadata={"order": 7})
        await client.reverse_charge(charged.id, 100, reason="half broken")
        payout = await client.withdraw(user, 400, traceparent=TRACE)
        seen: list[Event] = []
        async for event in client.stream(user_id=user):
            seen.append(event)
            if event.type == "withdrawal.completed":
                break
        assert [one async for one in client.events(user_id=user)] == seen
        page = await client.events_page(seen[-1].seq, epoch=seen[-1].epoch, user_id=user, wait=0.2)
        assert (page.events, page.epoch) == ([], seen[0].epoch)
        with pytest.raises(EventsGone) as gone:
            await client.events_page(2**40)
        assert gone.value.problem.last_seq == gone.value.members["last_seq"] >= seen[-1].seq
    assert [one.type for one in seen] == [
        "charge.completed",
        "charge.reversed",
        *(f"withdrawal.{status}" for status in ("pending", "processing", "completed")),
    ]
    match seen[1].typed(), seen[-1].typed():
        case ChargeObject(
            id=charged.id, metadata=kept, reversal=EventReversal(amount=100)
        ), WithdrawalObject() as last:
            assert kept == {"order": 7}
            assert (last.withdrawal_id, last.traceparent) == (payout.id, TRACE)
        case others:
            pytest.fail(f"{others} are others")

    def again() -> list[Event]:
        with Client(api) as client:
            first = next(client.stream(user_id=user, type="charge"))
            return [first, *islice(client.stream(first.seq, epoch=first.epoch, user_id=user), 4)]

    assert await asyncio.to_thread(again) == seen


class Receiver:
    """An endpoint: takes deliveries, and keeps their headers and bodies."""

    def __init__(self) -> None:
        self.came: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
        headers = {name.lower(): text for name, text in (line.split(": ", 1) for line in head)}
        body = await reader.readexactly(int(headers["content-length"]))
        await self.came.put((headers, body))
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        await writer.drain()

    async def next(self) -> tuple[dict[str, str], bytes]:
        """The next delivery."""
        return await asyncio.wait_for(self.came.get(), 30)


async def test_webhooks_are_made_and_believed(service: Service) -> None:
    """Goal: an endpoint is made, called, changed and removed; calls are verified with each of its secrets."""
    receiver = Receiver()
    async with (
        AsyncClient(service.stack.urls["api"]) as client,
        serving(receiver.serve) as port,
    ):
        address = f"http://127.0.0.1:{port}/events"
        made = await client.create_webhook(address, types=["hold"], description="a test's")
        assert (await client.test_webhook(made.id)).status_code == 204
        assert deliveries.verify(made.secret, *await receiver.next()) is None
        changed = await client.update_webhook(made.id, types=["charge.completed"], description=None)
        assert (changed.types, changed.description, changed.url) == (["charge.completed"], None, address)
        rotated = await client.rotate_webhook_secret(made.id)
        await client.test_webhook(made.id)
        headers, body = await receiver.next()
        for secret in (made.secret, rotated.secret, ["whsec_AAAA", rotated.secret]):
            assert deliveries.verify(secret, headers, body) is None
        with pytest.raises(InvalidWebhook):
            deliveries.verify("whsec_AAAA", headers, body)
        assert [one async for one in client.webhook_deliveries(made.id, status="delivered")] == []
        with pytest.raises(EventsGone):
            await client.redeliver(made.id, seq=2**40)
        assert made.id in [one.id async for one in client.webhooks()]
        await client.delete_webhook(made.id)
        with pytest.raises(WebhookNotFound):
            await client.get_webhook(made.id)

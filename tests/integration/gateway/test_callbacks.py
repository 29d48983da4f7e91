"""POST /bank/callbacks: money that came back, told by the bank, signed."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import pytest
from standardwebhooks import Webhook

from db.withdrawals import Withdrawals
from tests.integration.gateway.conftest import Api, Reply, StartGateway, together
from tests.integration.link import Link
from wallet.outcomes import Paid

SECRET = "whsec_" + base64.b64encode(b"the bank's and the wallet's").decode()


class Bank:
    """Signs and sends callbacks."""

    def __init__(self, api: Api, secret: str = SECRET) -> None:
        self._api = api
        self._webhook = Webhook(secret)

    async def tell(
        self, reference: object, amount: int = 100, *, age: timedelta = timedelta(0), **changed: Any
    ) -> Reply:
        data = {"reference": str(reference), "payout_id": "po_1", "amount": amount, "currency": "USD"}
        type = changed.pop("type", "payout.returned")
        body = json.dumps({"type": type, "timestamp": "2026-01-01T00:00:00Z", "data": data})
        sent_at = datetime.now(UTC) - age
        headers = {
            "content-type": "application/json",
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(sent_at.timestamp())),
            "webhook-signature": self._webhook.sign("msg_1", sent_at, body),
        }
        headers |= {name.replace("_", "-"): value for name, value in changed.items() if name != "body"}
        return await self._api.call(
            "POST", "/bank/callbacks", data=changed.get("body", body.encode()), headers=headers
        )


@pytest.fixture
async def bank(start_gateway: StartGateway, session: aiohttp.ClientSession) -> Bank:
    gateway = await start_gateway(WBS_BANK_WEBHOOK_SECRET=SECRET)
    return Bank(Api(gateway.url, session))


async def settled(api: Api, withdrawals: Withdrawals, outcome: Any = None) -> UUID:
    """A withdrawal of 100 that ended at the bank."""
    await api.charge(42, 100)
    id = UUID((await api.withdraw(42, 100)).json["withdrawal_id"])
    attempt = await withdrawals.begin_attempt(id, "42")
    assert attempt is not None
    await withdrawals.settle(attempt, outcome or Paid("po_1"))
    return id


@pytest.mark.parametrize("type", ["payout.paid", "payout.declined", "payout.returned"])
async def test_a_callback_is_a_doorbell(
    bank: Bank, withdrawals: Withdrawals, connection: asyncpg.Connection, type: str
) -> None:
    """Goal: whatever the bank tells, however often and at once: the bank is to be asked, once, and no money moves."""
    api = bank._api
    id = await settled(api, withdrawals)
    reference = (await connection.fetchval("select reference from withdrawals")).hex
    replies = await together(*(bank.tell(reference, type=type) for _ in range(16)))
    assert {reply.status for reply in replies} == {204}
    assert [row["withdrawal_id"] for row in await connection.fetch("select withdrawal_id from look_ups")] == [
        id
    ]
    assert await api.balance() == {"total": 0, "withdrawable": 0, "locked": 0, "held": 0}
    assert (await api.get(f"/withdrawals/{id}")).json["status"] == "completed"


async def test_who_did_not_sign(bank: Bank, withdrawals: Withdrawals) -> None:
    """Goal: whatever the bank did not sign, or signed long ago, moves nothing."""
    api = bank._api
    id = await settled(api, withdrawals)
    forged = Bank(api, "whsec_" + base64.b64encode(b"somebody else's secret").decode())
    refused = [
        await forged.tell(id),
        await bank.tell(id, age=timedelta(minutes=6)),
        await bank.tell(id, age=timedelta(minutes=-6)),
        await bank.tell(id, body=b'{"type":"payout.returned"}'),
        await bank.tell(id, body=b"\xff"),
        await bank.tell(id, webhook_id="msg_2"),
        await bank.tell(id, webhook_signature="v1"),
        await bank.tell(id, webhook_signature="v1,%%%"),
        await bank.tell(id, webhook_signature=""),
        await bank.tell(id, webhook_timestamp="soon"),
        await api.post("/bank/callbacks", {}),
    ]
    assert {(reply.status, reply.code) for reply in refused} == {(401, "invalid_signature")}
    assert (await api.balance())["total"] == 0


async def test_what_means_nothing_to_us(bank: Bank, connection: asyncpg.Connection) -> None:
    """Goal: another type, another reference: taken, so that the bank does not tell it again, and nothing follows."""
    await bank._api.charge(42, 100)
    await bank._api.withdraw(42, 100)
    pending = (await connection.fetchval("select reference from withdrawals")).hex
    assert (await bank.tell(pending, type="payout.created")).status == 204
    assert (await bank.tell(uuid4())).status == 204
    assert (await bank.tell("no-uuid")).status == 204
    assert await connection.fetchval("select count(*) from look_ups") == 0
    assert (await bank.tell("r" * 256)).code == "validation_failed"


async def test_a_withdrawal_from_before(
    bank: Bank, withdrawals: Withdrawals, connection: asyncpg.Connection
) -> None:
    """Goal: the bank knows a withdrawal of an earlier version by its identifier, with hyphens."""
    id = await settled(bank._api, withdrawals)
    assert (await bank.tell(id)).status == 204
    assert await connection.fetchval("select count(*) from look_ups") == 0
    await connection.execute("update withdrawals set reference = null")
    assert (await bank.tell(id)).status == 204
    assert await connection.fetchval("select withdrawal_id from look_ups") == id


async def test_database_away(start_gateway: StartGateway, link: Link, session: aiohttp.ClientSession) -> None:
    """Goal: a callback that can't be written is 503, so that the bank keeps it."""
    gateway = await start_gateway(WBS_BANK_WEBHOOK_SECRET=SECRET, DATABASE_URL=link.url)
    link.refuses = True
    reply = await Bank(Api(gateway.url, session)).tell(uuid4())
    assert (reply.status, reply.code) == (503, "unavailable")


async def test_no_secret(api: Api) -> None:
    """Goal: without a secret nothing is believed, and nothing is dropped either."""
    assert (await Bank(api).tell(uuid4())).status == 503

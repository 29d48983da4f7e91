"""POST /bank/callbacks: money that came back, told by the bank, signed."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
from standardwebhooks import Webhook

from db.withdrawals import Withdrawals
from tests.integration.gateway.conftest import Api, Reply, StartGateway, together
from tests.integration.link import Link
from wallet.outcomes import Declined, Paid

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
        body = json.dumps({"type": "payout.returned", "timestamp": "2026-01-01T00:00:00Z", "data": data})
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


async def test_returned_once(bank: Bank, withdrawals: Withdrawals) -> None:
    """Goal: the money comes back once, however often and however many at once the bank tells of it."""
    api = bank._api
    id = await settled(api, withdrawals)
    replies = await together(*(bank.tell(id) for _ in range(16)))
    assert {reply.status for reply in replies} == {204}
    assert (await bank.tell(id)).status == 204
    assert await api.balance() == {"total": 100, "withdrawable": 100, "locked": 0, "held": 0}
    found = (await api.get(f"/withdrawals/{id}")).json
    assert found["status"] == "returned"
    assert [entry["status"] for entry in found["history"]] == [
        "pending",
        "processing",
        "completed",
        "returned",
    ]


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


async def test_what_can_not_be_taken_now(bank: Bank, withdrawals: Withdrawals) -> None:
    """Goal: what does not fit is refused with its reason, so that the bank tells it again."""
    api = bank._api
    await api.charge(42, 100)
    pending = (await api.withdraw(42, 100)).json["withdrawal_id"]
    assert (await bank.tell(pending)).code == "not_returnable"
    assert (await bank.tell(uuid4())).code == "withdrawal_not_found"
    assert (await bank.tell("no-uuid")).code == "withdrawal_not_found"
    declined = await settled(api, withdrawals, Declined("closed"))
    assert (await bank.tell(declined)).code == "not_returnable"
    paid = await settled(api, withdrawals)
    assert (await bank.tell(paid, amount=99)).status == 409
    assert (await bank.tell(paid, amount=0)).code == "validation_failed"
    assert (await api.get(f"/withdrawals/{paid}")).json["status"] == "completed"


async def test_news_of_the_return_first(bank: Bank, withdrawals: Withdrawals) -> None:
    """Goal: a return that overtakes the news of its payment is taken: what came back was paid."""
    api = bank._api
    await api.charge(42, 100)
    id = UUID((await api.withdraw(42, 100)).json["withdrawal_id"])
    assert await withdrawals.begin_attempt(id, "42") is not None
    assert (await bank.tell(id)).status == 204
    assert (await api.get(f"/withdrawals/{id}")).json["status"] == "returned"
    assert (await api.balance())["withdrawable"] == 100


async def test_database_away(start_gateway: StartGateway, link: Link, session: aiohttp.ClientSession) -> None:
    """Goal: a callback that can't be written is 503, so that the bank keeps it."""
    gateway = await start_gateway(WBS_BANK_WEBHOOK_SECRET=SECRET, DATABASE_URL=link.url)
    link.refuses = True
    reply = await Bank(Api(gateway.url, session)).tell(uuid4())
    assert (reply.status, reply.code) == (503, "unavailable")


async def test_no_secret(api: Api) -> None:
    """Goal: without a secret nothing is believed, and nothing is dropped either."""
    assert (await Bank(api).tell(uuid4())).status == 503

"""POST /bank/callbacks: the bank's signed reports of returned money."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import pytest
from standardwebhooks import Webhook

from db.withdrawals import Withdrawals
from tests.integration.gateway.conftest import Api, Reply, StartGateway, together
from tests.integration.link import Link
from tests.tcp import connected
from wallet.outcomes import Paid

SECRET = "whsec_" + base64.b64encode(b"the bank's and the wallet's").decode()
OLD_SECRET = "whsec_" + base64.b64encode(b"what they shared until today").decode()


class Bank:
    """Signs and sends callbacks."""

    def __init__(self, api: Api, secret: str = SECRET) -> None:
        self._api = api
        self._webhook = Webhook(secret)

    async def tell(
        self,
        reference: object,
        amount: int = 100,
        *,
        age: timedelta = timedelta(0),
        also: Webhook | None = None,
        signature: Callable[[str], str] = str,
        **changed: Any,
    ) -> Reply:
        data = {"reference": str(reference), "payout_id": "po_1", "amount": amount, "currency": "USD"}
        type = changed.pop("type", "payout.returned")
        body = json.dumps({"type": type, "timestamp": "2026-01-01T00:00:00Z", "data": data})
        sent_at = datetime.now(UTC) - age
        signed = [one.sign("msg_1", sent_at, body) for one in (self._webhook, also) if one is not None]
        headers = {
            "content-type": "application/json",
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(sent_at.timestamp())),
            "webhook-signature": signature(" ".join(signed)),
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
async def test_a_callback_causes_one_look_up(
    bank: Bank, withdrawals: Withdrawals, connection: asyncpg.Connection, type: str
) -> None:
    """Goal: any callback, however often and concurrently, causes one look-up, and moves no money."""
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
    """Goal: a callback that the bank did not sign, or signed long ago, changes nothing."""
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


def signature_line(form: str, beside: str, good: str) -> str:
    """Return the line of a header: a good signature and what stands beside it, in this form."""
    return form.format(good=good, beside=beside)


async def test_a_signature_that_is_none_hides_no_good_one(bank: Bank) -> None:
    """Goal: a good signature counts, whatever stands beside it on its line, or on another line of that header."""
    for beside in ("v1", "v1,%%%", "v1,A", "v1,a,b", "v2,AAAA", "v1,AAAA", "v1," + "A" * 2_000):
        for form in ("{beside} {good}", "{good} {beside}", "  {beside}   {good} {beside}"):
            reply = await bank.tell(uuid4(), signature=partial(signature_line, form, beside))
            assert reply.status == 204, (beside, form)
        assert (
            await bank.tell(uuid4(), signature=partial(signature_line, "{beside}", beside))
        ).code == "invalid_signature"


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, 204),
        ({"webhook-signature": ["v1,%%%", "{good}"]}, 204),
        ({"webhook-signature": ["{good}", "v1"]}, 204),
        ({"webhook-id": ["msg_1", "msg_2"]}, 401),
        ({"webhook-timestamp": ["{at}", "1"]}, 401),
        ({"webhook-id": []}, 401),
    ],
)
async def test_headers_that_come_twice(bank: Bank, changed: dict[str, list[str]], status: int) -> None:
    """Goal: signatures may stand in several lines; which message it is, and of when, is said once."""
    body = json.dumps({"type": "payout.paid", "data": {"reference": "r"}})
    now = datetime.now(UTC)
    filled = {"good": Webhook(SECRET).sign("msg_1", now, body), "at": str(int(now.timestamp()))}
    lines = {
        "webhook-id": ["msg_1"],
        "webhook-timestamp": ["{at}"],
        "webhook-signature": ["{good}"],
    } | changed
    head = [f"{name}: {value.format(**filled)}" for name, values in lines.items() for value in values]
    host = bank._api.url.removeprefix("http://")
    head += [f"Host: {host}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    async with connected(bank._api.url) as (reader, writer):
        writer.write("\r\n".join(["POST /bank/callbacks HTTP/1.1", *head, "", body]).encode())
        assert f" {status} " in (await reader.readline()).decode()


async def test_a_secret_is_replaced(start_gateway: StartGateway, session: aiohttp.ClientSession) -> None:
    """Goal: with two secrets what either signed is taken, so nothing is lost meanwhile; a third one's is not."""
    strange = "whsec_" + base64.b64encode(b"somebody else's own secret").decode()
    for secrets in (f"{SECRET},{OLD_SECRET}", f"{OLD_SECRET} {SECRET}", f" {SECRET} , {OLD_SECRET} "):
        gateway = await start_gateway(WBS_BANK_WEBHOOK_SECRET=secrets)
        api = Api(gateway.url, session)
        for secret in (SECRET, OLD_SECRET):
            assert (await Bank(api, secret).tell(uuid4())).status == 204
        both = Webhook(OLD_SECRET)
        assert (await Bank(api, strange).tell(uuid4(), also=both)).status == 204
        assert (await Bank(api, strange).tell(uuid4())).status == 401
    gateway = await start_gateway(WBS_BANK_WEBHOOK_SECRET=SECRET)
    assert (await Bank(Api(gateway.url, session), OLD_SECRET).tell(uuid4())).status == 401


async def test_a_file_of_secrets_is_read_again(
    start_gateway: StartGateway, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Goal: who puts another secret into the file restarts no gateway; a file that holds none changes nothing."""
    file = tmp_path / "secret"

    def put(content: str) -> None:
        (tmp_path / "new").write_text(content, encoding="ascii")
        (tmp_path / "new").replace(file)

    put(OLD_SECRET + "\n")
    gateway = await start_gateway(WBS_BANK_WEBHOOK_SECRET_FILE=str(file))
    new, old = (Bank(Api(gateway.url, session), secret) for secret in (SECRET, OLD_SECRET))

    async def taken() -> list[bool]:
        return [(await bank.tell(uuid4())).status == 204 for bank in (new, old)]

    assert await taken() == [False, True]
    put(f"{SECRET},{OLD_SECRET}\n")
    assert await taken() == [True, True]
    put(SECRET)
    assert await taken() == [True, False]
    for unusable in ("", "whsec_short", "\n"):
        put(unusable)
        assert await taken() == [True, False]
    file.unlink()
    assert await taken() == [True, False]
    put(OLD_SECRET)
    assert await taken() == [False, True]


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

"""POST /withdraw, and what can be asked of a withdrawal afterwards."""

import asyncio
import re
import time
from typing import Any
from uuid import UUID, uuid4

import pytest

from db.withdrawals import Withdrawals
from tests.integration.gateway.conftest import Api, new_key, together
from wallet.outcomes import Declined, Paid


async def accepted(api: Api, amount: int = 100, **fields: Any) -> UUID:
    """A withdrawal of a wallet that has just the money for it."""
    assert (await api.charge(42, amount)).status == 200
    reply = await api.withdraw(42, amount, **fields)
    assert reply.status == 202, reply
    return UUID(reply.json["withdrawal_id"])


async def pay(withdrawals: Withdrawals, id: UUID) -> None:
    attempt = await withdrawals.begin_attempt(id, "42")
    assert attempt is not None
    await withdrawals.settle(attempt, Paid("po_1"))


async def test_accepted(api: Api) -> None:
    """Goal: the money is held, and the answer says where to ask."""
    await api.charge(42, 500)
    reply = await api.withdraw(42, 400, destination={"iban": "DE89"}, metadata={"n": 1})
    assert reply.status == 202
    body = reply.json
    id = body["withdrawal_id"]
    assert reply.headers["location"] == body["status_url"] == f"/withdrawals/{id}"
    assert reply.headers["retry-after"] == "1"
    assert (body["status"], body["user_id"], body["amount"], body["currency"]) == ("pending", 42, 400, "USD")
    assert (body["destination"], body["metadata"]) == ({"iban": "DE89"}, {"n": 1})
    assert await api.balance() == {"total": 500, "withdrawable": 100, "locked": 0, "held": 400}
    asked = await api.get(body["status_url"])
    assert asked.status == 200
    assert asked.headers["retry-after"] == "1"
    assert {name: asked.json[name] for name in body} == body
    assert [(entry["status"], entry["by"]) for entry in asked.json["history"]] == [("pending", "client")]
    assert re.fullmatch("[0-9a-f]{32}", asked.json["reference"])
    assert (asked.json["attempts"], asked.json["failure"], asked.json["bank_reference"]) == (0, None, None)


async def test_replay_whatever_has_become_of_it(api: Api, withdrawals: Withdrawals, movements: Any) -> None:
    """Goal: a replay gets the first answer byte for byte, also when the withdrawal has moved on."""
    await api.charge(42, 100)
    request = {"user_id": 42, "amount": 100, "idempotency_key": new_key(), "destination": "DE89"}
    first = await api.post("/withdraw", request)
    await pay(withdrawals, UUID(first.json["withdrawal_id"]))
    again = await api.post("/withdraw", request)
    assert (again.status, again.body) == (202, first.body)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert (await movements())[1] == 1
    assert (await api.get(first.json["status_url"])).json["status"] == "completed"


async def test_a_key_is_for_one_kind_of_request(api: Api) -> None:
    """Goal: the key of a charge is no key for a withdrawal."""
    key = new_key()
    await api.charge(42, 100, idempotency_key=key)
    assert (await api.withdraw(42, 100, idempotency_key=key)).code == "idempotency_key_reused"


async def test_64_withdrawals_of_everything(api: Api, movements: Any) -> None:
    """Goal: exactly one is accepted, the others lack funds, nothing below zero."""
    await api.charge(42, 1000)
    replies = await together(*(api.withdraw(42, 1000) for _ in range(64)))
    assert sorted(reply.status for reply in replies) == [202] + [422] * 63
    assert {reply.code for reply in replies if reply.status == 422} == {"insufficient_funds"}
    assert await api.balance() == {"total": 1000, "withdrawable": 0, "locked": 0, "held": 1000}


async def test_by_key(api: Api) -> None:
    """Goal: a withdrawal whose answer was lost is found by its key; a charge's key finds none."""
    key, charge_key = new_key(), new_key()
    await api.charge(42, 10, idempotency_key=charge_key)
    id = await accepted(api, idempotency_key=key)
    found = await api.get("/withdrawals", idempotency_key=key)
    assert (found.status, found.json["withdrawal_id"]) == (200, str(id))
    for other in ("unknown", charge_key):
        assert (await api.get("/withdrawals", idempotency_key=other)).code == "withdrawal_not_found"
    [listed] = (await api.get("/withdrawals")).json["items"]
    assert listed == found.json


UNKNOWN = "00000000-0000-7000-8000-000000000000"


@pytest.mark.parametrize("name", [UNKNOWN, UNKNOWN.replace("-", ""), "x", "0", "%00", "..%2F.."])
async def test_unknown(shared_api: Api, name: str) -> None:
    """Goal: what names no withdrawal is not found, whatever it looks like."""
    assert (await shared_api.call("GET", f"/withdrawals/{name}")).code == "withdrawal_not_found"
    assert (await shared_api.call("POST", f"/withdrawals/{name}/cancel")).code == "withdrawal_not_found"


async def test_cancel(api: Api) -> None:
    """Goal: a withdrawal that the bank was not called for is cancelled, once, and the money is back."""
    id = await accepted(api)
    first, again = [await api.call("POST", f"/withdrawals/{id}/cancel") for _ in range(2)]
    assert (first.status, again.status) == (200, 200)
    assert first.json == again.json
    assert first.json["status"] == "cancelled"
    assert "retry-after" not in first.headers
    assert [entry["status"] for entry in first.json["history"]] == ["pending", "cancelled"]
    assert await api.balance() == {"total": 100, "withdrawable": 100, "locked": 0, "held": 0}


async def test_too_late_to_cancel(api: Api, withdrawals: Withdrawals) -> None:
    """Goal: once the bank may have been called, the answer is 409, before and after the end."""
    id = await accepted(api)
    attempt = await withdrawals.begin_attempt(id, "42")
    assert attempt is not None
    assert (await api.call("POST", f"/withdrawals/{id}/cancel")).code == "not_cancellable"
    await withdrawals.settle(attempt, Paid("po_1"))
    assert (await api.call("POST", f"/withdrawals/{id}/cancel")).code == "not_cancellable"
    assert await api.balance() == {"total": 0, "withdrawable": 0, "locked": 0, "held": 0}


async def test_how_it_ended(api: Api, withdrawals: Withdrawals) -> None:
    """Goal: the end is reported in the bank's words, and the client is not asked to come again."""
    paid, declined = await accepted(api), await accepted(api)
    await pay(withdrawals, paid)
    attempt = await withdrawals.begin_attempt(declined, "42")
    assert attempt is not None
    await withdrawals.settle(attempt, Declined("account_closed"))
    good, bad = await api.get(f"/withdrawals/{paid}"), await api.get(f"/withdrawals/{declined}")
    assert (good.json["status"], good.json["bank_reference"], good.json["attempts"]) == (
        "completed",
        "po_1",
        1,
    )
    assert (bad.json["status"], bad.json["failure"]["code"]) == ("failed", "account_closed")
    assert not {"retry-after"} & ({*good.headers} | {*bad.headers})


async def test_wait_ends_early(api: Api, withdrawals: Withdrawals) -> None:
    """Goal: who waits is answered as soon as the end is there."""
    id = await accepted(api)
    waiting = asyncio.create_task(api.get(f"/withdrawals/{id}", wait=30))
    others = [asyncio.create_task(api.get(f"/withdrawals/{id}", wait=30)) for _ in range(20)]
    await api.get("/health/live")
    assert not waiting.done()
    await pay(withdrawals, id)
    replies = await asyncio.wait_for(asyncio.gather(waiting, *others), 25)
    assert {reply.json["status"] for reply in replies} == {"completed"}


async def test_wait_that_is_over(api: Api) -> None:
    """Goal: after the time the state is answered as it is."""
    id = await accepted(api)
    started = time.monotonic()
    reply = await api.get(f"/withdrawals/{id}", wait=0.3)
    assert (reply.status, reply.json["status"]) == (200, "pending")
    assert 0.3 <= time.monotonic() - started < 25  # the longest wait there is takes 30 s
    assert reply.headers["retry-after"] == "1"


async def test_nothing_to_wait_for(api: Api, withdrawals: Withdrawals) -> None:
    """Goal: of a withdrawal that has ended, or is unknown, the answer comes at once."""
    id = await accepted(api)
    await pay(withdrawals, id)
    async with asyncio.timeout(25):
        assert (await api.get(f"/withdrawals/{id}", wait=30)).json["status"] == "completed"
        assert (await api.get(f"/withdrawals/{uuid4()}", wait=30)).status == 404
    assert (await api.get(f"/withdrawals/{id}", wait=31)).bad_fields == {"wait"}

"""What a request may ask for and a wallet may hold, if settings say so (WBS_MAX_…)."""

from typing import Any

import aiohttp
import pytest

from tests.integration.gateway.conftest import Api, StartGateway, new_key


@pytest.fixture(scope="module")
def shared_environment() -> dict[str, str]:
    """The shared gateway has these limits."""
    return {"WBS_MAX_CHARGE": "1000,JPY:50000", "WBS_MAX_WITHDRAWAL": "JPY:300,200"}


async def test_the_greatest_charge(shared_api: Api) -> None:
    """Goal: one unit more than the limit of its currency is refused by name, the limit itself is taken."""
    assert (await shared_api.charge("big", 1000)).status == 200
    assert (await shared_api.charge("big", 50_000, currency="JPY")).status == 200
    refused = await shared_api.charge("big", 1001)
    assert (refused.status, refused.code) == (422, "amount_limit_exceeded")
    assert refused.json["detail"] == "1001 asked for, a charge may be for 1000 at most"
    assert (refused.json["amount"], refused.json["limit"]) == (1001, 1000)
    assert (await shared_api.charge("big", 50_001, currency="JPY")).code == "amount_limit_exceeded"
    assert (await shared_api.charge("big", 1001, currency="EUR")).code == "amount_limit_exceeded"
    assert (await shared_api.balance("big"))["total"] == 1000


async def test_in_bulk(shared_api: Api) -> None:
    """Goal: in bulk an item beyond the limit is refused alone."""
    items = [{"user_id": "bulk", "amount": n, "idempotency_key": new_key()} for n in (1000, 1001, 1)]
    results = (await shared_api.post("/charges", items)).json["results"]
    assert [result["status"] for result in results] == [200, 422, 200]
    assert results[1]["error"]["code"] == "amount_limit_exceeded"


async def test_the_greatest_withdrawal(shared_api: Api) -> None:
    """Goal: likewise for withdrawals, whatever the wallet has."""
    for _ in range(2):
        assert (await shared_api.charge("out", 1000)).status == 200
    assert (await shared_api.charge("out", 1000, currency="JPY")).status == 200
    assert (await shared_api.withdraw("out", 200)).status == 202
    assert (await shared_api.withdraw("out", 201)).code == "amount_limit_exceeded"
    assert (await shared_api.withdraw("out", 300, currency="JPY")).status == 202
    assert (await shared_api.withdraw("out", 301, currency="JPY")).code == "amount_limit_exceeded"


async def test_a_repetition_gets_its_first_answer(
    api: Api, start_gateway: StartGateway, session: aiohttp.ClientSession
) -> None:
    """Goal: whoever repeats a request from before the limit is told that the money has moved, not that it has not."""
    charge: dict[str, Any] = {"user_id": 1, "amount": 500, "idempotency_key": "charge"}
    withdraw: dict[str, Any] = {"user_id": 1, "amount": 400, "idempotency_key": "withdraw"}
    first = [await api.post("/charge", charge), await api.post("/withdraw", withdraw)]
    gateway = await start_gateway(WBS_MAX_CHARGE="100", WBS_MAX_WITHDRAWAL="100")
    later = Api(gateway.url, session)
    again = [await later.post("/charge", charge), await later.post("/withdraw", withdraw)]
    assert [reply.status for reply in again] == [200, 202]
    assert [reply.body for reply in again] == [reply.body for reply in first]
    for path, body in (("/charge", charge), ("/withdraw", withdraw)):
        reply = await later.post(path, {**body, "amount": 499})
        assert reply.code == "idempotency_key_reused"
        assert (
            await later.post(path, {**body, "idempotency_key": new_key()})
        ).code == "amount_limit_exceeded"

"""What a wallet may hold, if settings say so: totals, locks and holds, also when two gateways take money at once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest_asyncio

from tests.integration.gateway.conftest import Api, StartGateway, new_key, together
from tests.polling import poll_until

LIMITS = {"WBS_MAX_BALANCE": "1000,JPY:7", "WBS_MAX_OPEN_LOCKS": "3", "WBS_MAX_OPEN_HOLDS": "2"}


@pytest_asyncio.fixture
async def two(start_gateway: StartGateway, session: aiohttp.ClientSession) -> list[Api]:
    """Clients of two gateways with these limits, on one database."""
    return [Api((await start_gateway(**LIMITS)).url, session) for _ in range(2)]


def later(seconds: float = 3600) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def body(user: str, amount: int, **more: Any) -> dict[str, Any]:
    return {"user_id": user, "amount": amount, "idempotency_key": new_key(), **more}


async def taken(calls: list[Any], code: str) -> int:
    """Make the calls at once; return how many were taken: all others are refused by this name."""
    replies = await together(*calls)
    assert {reply.code for reply in replies if reply.status != 200} <= {code}
    return sum(reply.status == 200 for reply in replies)


async def test_a_balance_through_two_gateways(two: list[Api]) -> None:
    """Goal: of many charges at once, through two gateways, just those are taken that the limit has room for."""
    calls = [two[n % 2].charge("hot", 100, release_at=None) for n in range(40)]
    assert await taken(calls, "balance_limit_exceeded") == 10
    for api in two:
        assert (await api.balance("hot"))["total"] == 1000
        assert (await api.charge("hot", 1)).json["limit"] == 1000
        assert (await api.charge("hot", 1, currency="EUR")).status == 200
    assert (await two[0].charge("hot", 8, currency="JPY")).code == "balance_limit_exceeded"


async def test_what_comes_back_may_pass_it(two: list[Api]) -> None:
    """Goal: transfers and captures keep to the payee's limit; a reversal gives back what was there before."""
    api = two[0]
    for user, amount in (("payer", 900), ("payee", 950)):
        assert (await api.charge(user, amount)).status == 200
    pay = {"from_user_id": "payer", "to_user_id": "payee", "idempotency_key": new_key()}
    assert (await api.post("/transfers", {**pay, "amount": 51})).code == "balance_limit_exceeded"
    paid = await api.post("/transfers", {**pay, "amount": 50})
    assert paid.status == 200, paid
    hold = (await api.post("/holds", body("payer", 10))).json
    capture = {"to_user_id": "payee", "idempotency_key": new_key()}
    refused = await api.post(f"/holds/{hold['id']}/capture", capture)
    assert refused.code == "balance_limit_exceeded"
    assert (await api.charge("payer", 150)).status == 200  # it has 850, and 1000 then
    undo = await api.post(f"/transfers/{paid.json['id']}/reverse", {"idempotency_key": new_key()})
    assert undo.status == 200, undo
    assert (await api.balance("payer"))["total"] == 1050


async def test_locks_through_two_gateways(two: list[Api]) -> None:
    """Goal: no more locks at once than the limit, of charges and payments; one that has matured makes room."""
    calls = [two[n % 2].charge("locks", 1, release_at=later()) for n in range(12)]
    assert await taken(calls, "open_locks_limit_exceeded") == 3
    assert (await two[0].charge("locks", 1)).status == 200
    assert (await two[1].charge("payer", 10)).status == 200
    locked = {"to_user_id": "locks", "amount": 1, "release_at": later()}
    pay = {"from_user_id": "payer", "legs": [locked], "idempotency_key": new_key()}
    assert (await two[1].post("/transfers", pay)).code == "open_locks_limit_exceeded"

    for seconds in (1, 3600, 3600):
        assert (await two[0].charge("ripe", 1, release_at=later(seconds))).status == 200

    async def has_room() -> bool:
        return (await two[1].charge("ripe", 1, release_at=later())).status == 200

    await poll_until(has_room, what="a lock matures and makes room")


async def test_holds_through_two_gateways(two: list[Api]) -> None:
    """Goal: no more open holds at once than the limit; one that is voided makes room."""
    assert (await two[0].charge("holds", 100)).status == 200
    calls = [two[n % 2].post("/holds", body("holds", 1)) for n in range(8)]
    replies = await together(*calls)
    opened = [reply.json["id"] for reply in replies if reply.status == 200]
    assert len(opened) == 2
    assert {reply.code for reply in replies if reply.status != 200} == {"open_holds_limit_exceeded"}
    assert (await two[0].post(f"/holds/{opened[0]}/void")).status == 200
    assert (await two[1].post("/holds", body("holds", 1, expires_at=later()))).status == 200
    assert (await two[0].post("/holds", body("holds", 1))).code == "open_holds_limit_exceeded"

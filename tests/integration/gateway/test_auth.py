"""API keys and rate limits."""

from typing import Any

import aiohttp
import asyncpg
import pytest

from tests.integration.gateway.conftest import Api, StartGateway, new_key

KEYS = "shop=shop-secret,other=other-secret,viewer=viewer-secret:read,partner@theirs=partner-secret"


async def clients(start_gateway: StartGateway, session: aiohttp.ClientSession) -> dict[str, Api]:
    gateway = await start_gateway(WBS_API_KEYS=KEYS)
    api = Api(gateway.url, session)
    names = ("shop", "other", "viewer", "partner", "wrong")
    return {"": api, **{name: api.with_headers(authorization=f"Bearer {name}-secret") for name in names}}


async def test_keys(start_gateway: StartGateway, session: aiohttp.ClientSession) -> None:
    """Goal: no key or a wrong one is 401, a reading one may read only, the open paths need none."""
    by_name = await clients(start_gateway, session)
    for name in ("", "wrong"):
        for reply in (await by_name[name].charge(), await by_name[name].get("/balance/42")):
            assert (reply.status, reply.code) == (401, "unauthorized")
            assert reply.headers["www-authenticate"].startswith("Bearer")
    assert (await by_name["shop"].charge(42, 100)).status == 200
    for reply in (
        await by_name["viewer"].charge(),
        await by_name["viewer"].withdraw(),
        await by_name["viewer"].post("/charges", []),
        await by_name["viewer"].call("POST", "/withdrawals/x/cancel"),
    ):
        assert (reply.status, reply.code) == (403, "forbidden")
    assert (await by_name["viewer"].balance())["total"] == 100
    for path in ("/health", "/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs"):
        assert (await by_name[""].get(path)).status == 200
    callback = await by_name[""].post("/bank/callbacks", {})
    assert callback.status != 401 or callback.code == "invalid_signature"


async def test_keys_are_unique_in_a_space(
    start_gateway: StartGateway, session: aiohttp.ClientSession, movements: Any
) -> None:
    """Goal: another key of ours repeats the same request; a partner's is another request, and finds none of ours."""
    by_name = await clients(start_gateway, session)
    key, withdrawal_key = new_key(), new_key()
    shop, other, partner = [
        await by_name[name].charge(42, 1, idempotency_key=key) for name in ("shop", "other", "partner")
    ]
    assert (shop.status, other.status, partner.status) == (200, 200, 200)
    assert other.body == shop.body
    assert partner.json["id"] != shop.json["id"]
    assert (await by_name["shop"].withdraw(42, 1, idempotency_key=withdrawal_key)).status == 202
    for name, status in (("shop", 200), ("other", 200), ("viewer", 200), ("partner", 404)):
        assert (await by_name[name].get("/withdrawals", idempotency_key=withdrawal_key)).status == status
    assert await movements() == (3, 1, 3)


async def test_switching_logins_on_changes_no_key(
    start_gateway: StartGateway, session: aiohttp.ClientSession, movements: Any
) -> None:
    """Goal: what was asked for before there were logins, or under a key that was renamed, is not done again."""
    key = new_key()
    before = await Api((await start_gateway()).url, session).charge(42, 1, idempotency_key=key)
    again = await (await clients(start_gateway, session))["shop"].charge(42, 1, idempotency_key=key)
    assert (again.status, again.body) == (200, before.body)
    assert await movements() == (1, 0, 1)


async def test_a_name_of_before_goes_on_as_a_space(
    start_gateway: StartGateway,
    session: aiohttp.ClientSession,
    connection: asyncpg.Connection,
    movements: Any,
) -> None:
    """Goal: `shop@shop=…` finds the keys that client `shop` used when its name was their scope."""
    first = await Api((await start_gateway()).url, session).charge(42, 1, idempotency_key="k")
    await connection.execute("update idempotency_keys set client = 'shop'")
    gateway = await start_gateway(WBS_API_KEYS="shop@shop=shop-secret")
    shop = Api(gateway.url, session).with_headers(authorization="Bearer shop-secret")
    assert (await shop.charge(42, 1, idempotency_key="k")).body == first.body
    assert await movements() == (1, 0, 1)


async def test_rate_limit(start_gateway: StartGateway, session: aiohttp.ClientSession) -> None:
    """Goal: a client over its rate is told when to come again; others, and open paths, are not touched."""
    gateway = await start_gateway(WBS_RATE_LIMIT_PER_S="3", WBS_API_KEYS=KEYS)
    api = Api(gateway.url, session)
    shop = api.with_headers(authorization="Bearer shop-secret")
    replies = [await shop.get("/balance/42") for _ in range(30)]
    refused = [reply for reply in replies if reply.status == 429]
    assert refused
    assert {reply.code for reply in refused} == {"rate_limited"}
    assert {reply.headers["retry-after"] for reply in refused} == {"1"}
    assert (await api.with_headers(authorization="Bearer other-secret").get("/balance/42")).status == 200
    assert {(await api.get("/health/live")).status for _ in range(10)} == {200}


@pytest.mark.parametrize("keys", ["shop", "shop=short", "a=the-same-one,b=the-same-one"])
def test_bad_keys_stop_the_start(spawn_gateway: StartGateway, database_url: str, keys: str) -> None:
    """Goal: a mistake in the keys is one clear line and an exit code, without the secret."""
    gateway = spawn_gateway(DATABASE_URL=database_url, WBS_API_KEYS=keys)
    assert gateway.wait() == 1
    assert "WBS_API_KEYS" in gateway.events("bad_settings")[0]["detail"]
    assert "the-same-one" not in gateway.log.read_text()

"""Spaces of idempotency keys, and rate limits."""

from typing import Any

import aiohttp
import asyncpg

from tests.api_keys import create_key
from tests.integration.gateway.conftest import Api, Gateway, StartGateway, new_key
from wallet.scopes import Scope


async def clients(
    start_gateway: StartGateway, database_url: str, session: aiohttp.ClientSession, **environment: str
) -> dict[str, Api]:
    """Return clients with keys of a gateway that is started after these were made."""
    secrets = {
        "shop": await create_key(database_url, "shop"),
        "other": await create_key(database_url, "other"),
        "viewer": await create_key(database_url, "viewer", Scope.READ),
        "partner": await create_key(database_url, "partner", space="theirs"),
    }
    gateway: Gateway = await start_gateway(WBS_AUTH="on", **environment)
    api = Api(gateway.url, session)
    return {name: api.with_headers(authorization=f"Bearer {secret}") for name, secret in secrets.items()}


async def test_keys_are_unique_in_a_space(
    start_gateway: StartGateway, database_url: str, session: aiohttp.ClientSession, movements: Any
) -> None:
    """Goal: another key of ours repeats the same request; a partner's is another request, and finds none of ours."""
    by_name = await clients(start_gateway, database_url, session)
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
    start_gateway: StartGateway, database_url: str, session: aiohttp.ClientSession, movements: Any
) -> None:
    """Goal: what was asked for before there were logins, or under a key that was renamed, is not done again."""
    key = new_key()
    before = await Api((await start_gateway()).url, session).charge(42, 1, idempotency_key=key)
    by_name = await clients(start_gateway, database_url, session)
    again = await by_name["shop"].charge(42, 1, idempotency_key=key)
    assert (again.status, again.body) == (200, before.body)
    assert await movements() == (1, 0, 1)


async def test_a_name_of_before_goes_on_as_a_space(
    start_gateway: StartGateway,
    database_url: str,
    session: aiohttp.ClientSession,
    connection: asyncpg.Connection,
    movements: Any,
) -> None:
    """Goal: a key in the space `shop` finds the keys that client `shop` used when its name was their scope."""
    first = await Api((await start_gateway()).url, session).charge(42, 1, idempotency_key="k")
    await connection.execute("update idempotency_keys set client = 'shop'")
    secret = await create_key(database_url, "shop", space="shop")
    gateway = await start_gateway(WBS_AUTH="on")
    shop = Api(gateway.url, session).with_headers(authorization=f"Bearer {secret}")
    assert (await shop.charge(42, 1, idempotency_key="k")).body == first.body
    assert await movements() == (1, 0, 1)


async def test_rate_limit(
    start_gateway: StartGateway, database_url: str, session: aiohttp.ClientSession
) -> None:
    """Goal: a client over its rate gets Retry-After; other clients, and open paths, are not affected."""
    by_name = await clients(start_gateway, database_url, session, WBS_RATE_LIMIT_PER_S="3")
    replies = [await by_name["shop"].get("/balance/42") for _ in range(30)]
    refused = [reply for reply in replies if reply.status == 429]
    assert refused
    assert {reply.code for reply in refused} == {"rate_limited"}
    assert {reply.headers["retry-after"] for reply in refused} == {"1"}
    assert {reply.headers["ratelimit-policy"] for reply in replies} == {'"default";q=3;w=1'}
    assert {reply.headers["ratelimit"] for reply in refused} == {'"default";r=0;t=1'}
    other = by_name["other"]
    assert (await other.get("/balance/42")).status == 200
    bulk = [{"user_id": 1, "amount": 1, "idempotency_key": new_key()} for _ in range(50)]
    assert (await other.post("/charges", bulk)).status == 200
    late = await other.get("/balance/42")
    assert late.status == 429
    assert 10 < int(late.headers["retry-after"]) <= 17, "a bulk costs as much as its items"
    assert {(await by_name["shop"].get("/health/live")).status for _ in range(10)} == {200}

"""Rate limits of several gateways together."""

import asyncio
import time
from collections import Counter
from typing import Any

import aiohttp
import asyncpg
import pytest

from tests.api_keys import create_key
from tests.integration.gateway.conftest import Api, StartGateway, new_key
from tests.polling import poll_until

LIMIT, FEW = 40, 10
SETTLING_S, SECONDS = 4.0, 12.0
PROMISES_MIN = 100
"""Number of promises of the headers that have to be kept before anything is said about them."""


@pytest.mark.slow
async def test_two_gateways_share_a_limit(
    start_gateway: StartGateway,
    database_url: str,
    session: aiohttp.ClientSession,
    connection: asyncpg.Connection,
) -> None:
    """Goal: however unevenly a client asks two gateways, it gets its limit within 10 %, and the headers are true."""
    secret = await create_key(database_url, "shop")
    gateways = [await start_gateway(WBS_AUTH="on", WBS_RATE_LIMIT_PER_S=str(LIMIT)) for _ in range(2)]
    busy, quiet = (Api(g.url, session).with_headers(authorization=f"Bearer {secret}") for g in gateways)
    assert await connection.fetchval("select count(*) from rate_reports") == 2
    let_in: list[float] = []
    untrue: Counter[str] = Counter()
    began_at = time.monotonic()
    end_at = began_at + SETTLING_S + SECONDS

    async def ask(api: Api, pause_s: float) -> None:
        """Ask one after the other, so that nobody comes between what was told and what is asked next."""
        left: int | None = None
        while (now := time.monotonic()) < end_at or untrue["promised 200"] <= PROMISES_MIN:
            reply = await api.get("/balance/42")
            assert reply.status in (200, 429), reply
            assert reply.headers["ratelimit-policy"] == f'"default";q={LIMIT};w=1'
            if reply.status == 200:
                let_in.append(now)
            untrue[f"{left and 'promised'} {reply.status}"] += 1
            left = int(reply.headers["ratelimit"].split(";")[1].removeprefix("r="))
            await asyncio.sleep(pause_s)

    await asyncio.gather(ask(busy, 0.004), ask(quiet, 0.06))
    lasted_s = time.monotonic() - began_at
    counted = sum(end_at - SECONDS <= at < end_at for at in let_in)
    assert 0.9 * LIMIT <= counted / SECONDS <= 1.1 * LIMIT
    # At the end of a period what is left is worked out anew.
    assert untrue["promised 429"] <= 2 * lasted_s, untrue
    assert untrue["promised 200"] > PROMISES_MIN, untrue


async def test_a_debt_is_owed_to_all(
    start_gateway: StartGateway, database_url: str, session: aiohttp.ClientSession
) -> None:
    """Goal: what a bulk costs at one gateway is missing at the other, a second later."""
    secret = await create_key(database_url, "shop")
    gateways = [await start_gateway(WBS_AUTH="on", WBS_RATE_LIMIT_PER_S="10") for _ in range(2)]
    one, other = (Api(g.url, session).with_headers(authorization=f"Bearer {secret}") for g in gateways)
    bulk = [{"user_id": 1, "amount": 1, "idempotency_key": new_key()} for _ in range(1_000)]
    assert (await one.post("/charges", bulk)).status == 200

    async def owes() -> bool:
        reply = await other.get("/balance/42")
        return reply.status == 429 and 60 <= int(reply.headers["retry-after"]) <= 110

    await poll_until(owes, what="the other gateway knows of the debt")


async def test_wrong_keys_count_at_all_gateways(
    start_gateway: StartGateway, session: aiohttp.ClientSession
) -> None:
    """Goal: an address that has used up its wrong keys at one gateway has few left at another."""
    gateways = [await start_gateway(WBS_AUTH="on") for _ in range(2)]
    one, other = (Api(g.url, session).with_headers(authorization="Bearer guess") for g in gateways)

    async def status(api: Api) -> int:
        return (await api.get("/balance/42")).status

    statuses = [await status(one) for _ in range(30)]
    assert statuses.count(401) <= 12

    async def refused() -> bool:
        return await status(one) == await status(other) == 429

    await poll_until(refused, what="both gateways refuse")


@pytest.mark.slow
async def test_without_the_database_each_takes_its_part(
    start_gateway: StartGateway,
    database_url: str,
    session: aiohttp.ClientSession,
    connection: asyncpg.Connection,
) -> None:
    """Goal: gateways that can't tell each other divide the limit, say so in the metrics, and share it again later."""
    gateways = [await start_gateway(WBS_AUTH="off", WBS_RATE_LIMIT_PER_S=str(FEW)) for _ in range(2)]
    apis = [Api(gateway.url, session) for gateway in gateways]
    since = await connection.fetchval("select clock_timestamp()")

    async def know_each_other() -> bool:
        query = "select count(*) = 2 from rate_reports where reported_at > $1"
        return bool(await connection.fetchval(query, since))

    await poll_until(know_each_other, what="both have told and learned since both are there")
    await connection.execute("alter table rate_reports rename to hidden")

    async def unshared(expected: bytes) -> bool:
        seen = [await api.get("/metrics") for api in apis]
        return all(b"wbs_rate_limits_unshared %b\n" % expected in reply.body for reply in seen)

    await poll_until(lambda: unshared(b"1.0"), what="they know that they are alone")
    started, let_in = time.monotonic(), 0
    while (seconds := time.monotonic() - started) < 5:
        replies: list[Any] = await asyncio.gather(*(api.get("/balance/42") for api in apis for _ in range(3)))
        let_in += sum(reply.status == 200 for reply in replies)
        await asyncio.sleep(0.005)
    assert let_in <= FEW * (1.1 * seconds + 2), "not more than all together may, and what was left at first"
    assert let_in >= 0.9 * FEW * seconds
    await connection.execute("alter table hidden rename to rate_reports")
    await poll_until(lambda: unshared(b"0.0"), what="they share again")
    gateways[1].stop()

    async def gone() -> bool:
        return bool(await connection.fetchval("select count(*) = 1 from rate_reports"))

    await poll_until(gone, what="a gateway that ends takes its report along")

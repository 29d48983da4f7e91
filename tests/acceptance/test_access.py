"""Who may call, and how often: gateways with other settings than the stack's, on the same database."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from tests.acceptance.refusals import NOBODY, check, state
from tests.integration.actors.processes import Process
from tests.polling import wait_until
from tests.ports import free_port
from tests.service import Answer, Service, Split

StartGateway = Callable[..., str]


@pytest.fixture
def start_gateway(service: Service, tmp_path: Path) -> Iterator[StartGateway]:
    """`start_gateway(WBS_API_KEYS="…")`: one more gateway beside the stack's; returns its address."""
    started: list[Process] = []

    def start(**settings: str) -> str:
        port = free_port()
        environment = {**service.stack.env, **settings, "WBS_HTTP_PORT": str(port)}
        gateway = Process("gateway", tmp_path, environment).start()
        started.append(gateway)
        wait_until(lambda: "gateway_ready" in gateway.log.read_text())
        return f"http://127.0.0.1:{port}"

    yield start
    for gateway in started:
        gateway.ensure_gone()


async def test_whoever_has_no_key(service: Service, start_gateway: StartGateway) -> None:
    """Goal: 401 without a known API key, 403 for writing with one that may only read."""
    base = start_gateway(WBS_API_KEYS="shop=shop-secret-1,report=report-secret:read")
    before = await state(service)
    calls: list[tuple[str, str, Any]] = [
        ("POST", "/charge", service.order(10)),
        ("POST", "/charges", [service.order(10)]),
        ("POST", "/withdraw", service.order(10)),
        ("POST", f"/withdrawals/{NOBODY}/cancel", None),
    ]
    reads = [("GET", f"/balance/{service.user}", None), ("GET", f"/transactions/{service.user}", None)]
    for method, path, body in calls + reads:
        for said in (
            None,
            "Bearer wrong",
            "Basic c2hvcDpzaG9w",
            "Bearer ",
            "shop-secret-1",
            "Bearer shop-secret-1x",
        ):
            headers = {"authorization": said} if said else {}
            answer = await service.call(method, path, base=base, json=body, headers=headers)
            check(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert b"secret" not in answer.body
    reader = {"authorization": "Bearer report-secret"}
    for method, path, body in calls:
        check(await service.call(method, path, base=base, json=body, headers=reader), 403, "forbidden")
    assert await state(service) == before
    for method, path, body in reads:
        assert (await service.call(method, path, base=base, json=body, headers=reader)).status == 200
    shop = {"authorization": "Bearer shop-secret-1"}
    answer = await service.call("POST", "/charge", base=base, json=service.order(10), headers=shop)
    assert answer.status == 200
    for path in ("/health", "/metrics", "/openapi.json", "/docs"):
        assert (await service.call("GET", path, base=base)).status == 200


async def test_keys_belong_to_a_space(service: Service, start_gateway: StartGateway) -> None:
    """Goal: in two spaces one idempotency key may stand for different things, and shows only the own withdrawal."""
    base = start_gateway(WBS_API_KEYS="one=secret-of-one,two@theirs=secret-of-two")
    one, two = ({"authorization": f"Bearer secret-of-{name}"} for name in ("one", "two"))
    key = uuid4().hex
    for headers, amount in ((one, 10), (two, 20)):
        order = service.order(amount, key=key)
        assert (await service.call("POST", "/charge", base=base, json=order, headers=headers)).status == 200
    assert await service.split() == Split(30)
    order = service.order(5, key=f"{key}-w")
    assert (await service.call("POST", "/withdraw", base=base, json=order, headers=one)).status == 202
    path = f"/withdrawals?idempotency_key={key}-w"
    assert (await service.call("GET", path, base=base, headers=one)).status == 200
    check(await service.call("GET", path, base=base, headers=two), 404, "withdrawal_not_found")


async def at_once(service: Service, base: str, number: int) -> list[Answer]:
    """Make so many charges of 1 at the same time, all on connections of their own."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        client = Service(service.stack, session)
        calls = (client.call("POST", "/charge", base=base, json=service.order(1)) for _ in range(number))
        return await asyncio.gather(*calls)


async def test_too_often(service: Service, start_gateway: StartGateway) -> None:
    """Goal: 429 with Retry-After beyond the rate; what was refused has moved nothing."""
    answers = await at_once(service, start_gateway(WBS_RATE_LIMIT_PER_S="5"), 40)
    taken = [answer for answer in answers if answer.status == 200]
    assert 5 <= len(taken) < 40
    for answer in answers:
        if answer not in taken:
            check(answer, 429, "rate_limited")
    assert await state(service) == (Split(len(taken)), len(taken))


async def test_too_many_at_once(service: Service, start_gateway: StartGateway) -> None:
    """Goal: 503 with Retry-After when the backlog is full; what was refused has moved nothing."""
    answers = await at_once(service, start_gateway(WBS_BACKLOG_MAX="2", WBS_BATCH_SIZE_MAX="1"), 200)
    taken = [answer for answer in answers if answer.status == 200]
    assert 1 <= len(taken) < 200
    for answer in answers:
        if answer not in taken:
            check(answer, 503, "overloaded")
    assert await state(service) == (Split(len(taken)), len(taken))

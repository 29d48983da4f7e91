"""How often one may call: gateways with other settings than the stack's, on the same database."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from db.roles import GATEWAY
from tests.acceptance.refusals import check, state
from tests.integration.actors.processes import Process
from tests.polling import wait_until
from tests.ports import free_port
from tests.service import Answer, Service, Split

StartGateway = Callable[..., str]


@pytest.fixture
def start_gateway(service: Service, tmp_path: Path) -> Iterator[StartGateway]:
    """`start_gateway(WBS_RATE_LIMIT_PER_S="5")`: one more gateway beside the stack's; returns its address."""
    started: list[Process] = []

    def start(**settings: str) -> str:
        port = free_port()
        servers = service.stack.servers
        assert servers is not None
        assert servers.postgres is not None
        environment = {**service.stack.env, "DATABASE_URL": servers.postgres.url(GATEWAY), **settings}
        environment["WBS_HTTP_PORT"] = str(port)
        gateway = Process("gateway", tmp_path, environment).start()
        started.append(gateway)
        wait_until(lambda: "gateway_ready" in gateway.log.read_text())
        return f"http://127.0.0.1:{port}"

    yield start
    for gateway in started:
        gateway.ensure_gone()


async def at_once(service: Service, base: str, number: int) -> list[Answer]:
    """Make this number of charges of 1 at the same time, each on a connection of its own."""
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

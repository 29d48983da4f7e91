"""Clients that are slow, or very many: each has its time and its places, and the others are served."""

import asyncio
import time
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress

import aiohttp
import pytest

from gateway.wire.connection import HEAD_S_MAX, REQUEST_S_MAX
from gateway.wire.refusals import REFUSED_BURST
from tests.integration.gateway.conftest import Api, Gateway, StartGateway
from tests.polling import poll_until
from tests.tcp import Connection, connected

DRIP_S = 0.5
HEAD = b"POST /charge HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
SLOW = {
    "head": (b"GET /balance/1 HTTP/1.1\r\nHost: localhost\r\nX: ", b"a", HEAD_S_MAX),
    "body": (HEAD + b"Content-Length: 60000\r\n\r\n", b" ", REQUEST_S_MAX),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", REQUEST_S_MAX),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", SLOW)
async def test_dripping_extends_nothing(
    shared_gateway: Gateway, session: aiohttp.ClientSession, what: str
) -> None:
    """Goal: a request has to be there in time, however steadily its bytes drip: 408, and the connection ends."""
    await shared_gateway.ready(session)
    first, drop, seconds = SLOW[what]
    answered = asyncio.Event()

    async def drip(writer: asyncio.StreamWriter) -> None:
        while not answered.is_set():
            writer.write(drop)
            with suppress(TimeoutError):
                await asyncio.wait_for(answered.wait(), DRIP_S)

    async with connected(shared_gateway.port, timeout_s=seconds + 20) as (reader, writer):
        writer.write(first)
        started = time.monotonic()
        dripping = asyncio.create_task(drip(writer))
        try:
            answer = await reader.read()
        finally:
            answered.set()
            await dripping
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in answer
    assert b"\r\nconnection: close\r\n" in answer
    assert time.monotonic() - started >= seconds - 1


async def test_connections_are_bounded(start_gateway: StartGateway, session: aiohttp.ClientSession) -> None:
    """Goal: an address that holds too many connections is told so (503); another is served, and so is it afterwards."""
    gateway = await start_gateway(WBS_CONNECTIONS_PER_ADDRESS_MAX="5", WBS_CONNECTIONS_MAX="100")
    api = Api(gateway.url, session)

    def connect() -> AbstractAsyncContextManager[Connection]:
        return connected(gateway.port, timeout_s=None, local_addr=("127.0.0.2", 0))

    async with AsyncExitStack() as held:
        # Each has said something, so each was taken.
        for _ in range(5):
            reader, writer = await held.enter_async_context(connect())
            writer.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b" 200 " in await reader.readline()
        async with connect() as (reader, _):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b'"code":"overloaded"' in answer
        assert b"\r\nretry-after: 1\r\n" in answer
        assert (await api.get("/health/live")).status == 200
        assert gateway.events("connection_refused")[0]["address"] == "127.0.0.2"
        assert (
            'wbs_connections_refused_total{bound="address"} 1.0' in (await api.get("/metrics")).body.decode()
        )

    async def is_served() -> bool:
        async with connect() as (reader, writer):
            writer.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return b" 200 " in await reader.read()

    await poll_until(is_served, what="the address is served again")


REFUSED_EARLY = {
    "an unknown path": b"POST /nope HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n",
    "another method": b"PUT /charge HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n",
    "another type": b"POST /charge HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n",
    "a body that nobody reads": b"GET /balance/1 HTTP/1.1\r\nHost: localhost\r\n",
    "another site's": b"POST /charge HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n",
}
"""Heads of requests that are answered before their body has arrived."""


@pytest.mark.slow
async def test_dripping_after_the_answer(shared_gateway: Gateway, session: aiohttp.ClientSession) -> None:
    """Goal: what is left of a request that was answered early has to be there in time, too: the connection ends."""
    await shared_gateway.ready(session)

    async def answer_to(head: bytes) -> bytes:
        async with connected(shared_gateway.port, timeout_s=REQUEST_S_MAX + 10) as (reader, writer):
            writer.write(head + b"Content-Length: 60000\r\n\r\n")
            reading = asyncio.create_task(reader.read())
            while not reading.done():
                writer.write(b" ")
                await asyncio.wait([reading], timeout=DRIP_S)
            return await reading

    answers = await asyncio.gather(*map(answer_to, REFUSED_EARLY.values()), return_exceptions=True)
    for kind, answer in zip(REFUSED_EARLY, answers, strict=True):
        assert not isinstance(answer, TimeoutError), f"{kind}: the connection is open still"
        if not isinstance(answer, ConnectionError):
            assert isinstance(answer, bytes), (kind, answer)
            assert answer.startswith(b"HTTP/1.1 "), (kind, answer)
    assert not shared_gateway.events("exception")


async def test_who_is_refused_very_often_waits(
    start_gateway: StartGateway, session: aiohttp.ClientSession
) -> None:
    """Goal: an address that is refused more than a client ever would be waits; no other does."""
    gateway = await start_gateway()
    other = Api(gateway.url, session)

    async def delayed() -> float:
        lines = (await other.get("/metrics")).body.decode().splitlines()
        return sum(float(line.split()[1]) for line in lines if line.startswith("wbs_refusals_delayed_total"))

    connector = aiohttp.TCPConnector(limit=50, local_addr=("127.0.0.2", 0))
    async with aiohttp.ClientSession(connector=connector) as shooting:
        shooter = Api(gateway.url, shooting)
        replies = await asyncio.gather(*(shooter.get("/nothing") for _ in range(REFUSED_BURST)))
        assert {reply.status for reply in replies} == {404}
        replies = await asyncio.gather(*(shooter.charge(amount=-1) for _ in range(REFUSED_BURST * 3 // 2)))
        assert {reply.status for reply in replies} == {422}
        reached = await delayed()
        assert reached > 0, "only one of both kinds counts"
        assert {(await other.get("/nothing")).status for _ in range(20)} == {404}
        assert (await other.charge()).status == 200
        assert (await shooter.charge()).status == 200
        assert await delayed() == reached

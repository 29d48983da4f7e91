"""Bodies and responses in memory are bounded; clients that do not read their responses are ended."""

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import Any

import aiohttp
import psutil

from tests.api_keys import create_key
from tests.integration.gateway.conftest import Api, Gateway, StartGateway, new_key
from tests.polling import poll_until
from tests.tcp import connected

SMALL = {"WBS_BUFFERS_MB_MAX": "16"}
MB = 2**20
HEAD = "POST /charges HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer {key}\r\n"


def head(key: str, rest: str) -> bytes:
    return (HEAD.format(key=key) + rest + "\r\n\r\n").encode()


async def metric(api: Api, name: str) -> float:
    lines = (await api.get("/metrics")).body.decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


async def status_of(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return the status, and the head."""
    lines = await reader.readuntil(b"\r\n\r\n")
    return int(lines.split()[1]), lines


async def test_long_bodies_are_refused_before_they_are_read(
    start_gateway: StartGateway, database_url: str, session: aiohttp.ClientSession
) -> None:
    """Goal: who holds much gets no more, by length or by chunks; another key does; all of it is given back."""
    greedy, other = await create_key(database_url, "greedy"), await create_key(database_url, "other")
    gateway = await start_gateway(WBS_AUTH="on", **SMALL)
    api = Api(gateway.url, session)
    async with AsyncExitStack() as held:
        # The budget is 16 MB, and a body costs four times its length: two of 1 MB are half of it.
        for _ in range(2):
            reader, writer = await held.enter_async_context(connected(gateway.port))
            writer.write(head(greedy, f"Content-Length: {MB}\r\nExpect: 100-continue"))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        for rest in (f"Content-Length: {MB}", f"Content-Length: {MB}\r\nExpect: 100-continue"):
            async with connected(gateway.port) as (reader, writer):
                writer.write(head(greedy, rest))
                status, lines = await status_of(reader)
            assert status == 503
            assert b"\r\nretry-after: 1\r\n" in lines
        chunked = Api(gateway.url, session).with_headers(authorization=f"Bearer {greedy}")

        async def parts() -> Any:
            for _ in range(64):
                yield b" " * 16_000

        assert (
            await chunked.call("POST", "/charges", data=parts(), headers={"content-type": "application/json"})
        ).status == 503
        assert (await chunked.charge()).status == 200, "short bodies are free"
        bulk = [
            {"user_id": 1, "amount": 1, "idempotency_key": new_key(), "metadata": {"x": "y" * 300}}
            for _ in range(999)
        ]
        assert (await api.with_headers(authorization=f"Bearer {other}").post("/charges", bulk)).status == 200

    async def is_let_in() -> bool:
        again = [{**item, "idempotency_key": new_key()} for item in bulk]
        return (await chunked.post("/charges", again)).status == 200

    await poll_until(is_let_in, what="what was held was given back")
    assert await metric(chunked, "wbs_memory_refusals_total") >= 3


async def push(gateway: Gateway, address: str, data: bytes, size: int, statuses: list[int]) -> None:
    """Send the head and so many bytes, if they are taken; note the status."""
    async with connected(gateway.port, timeout_s=None, local_addr=(address, 0)) as (reader, writer):
        writer.write(data)
        with suppress(OSError):
            for _ in range(size // 50_000):
                writer.write(b" " * 50_000)
                await writer.drain()
        with suppress(asyncio.IncompleteReadError, OSError):
            statuses.append((await status_of(reader))[0])


async def test_much_at_once_needs_little_memory(
    start_gateway: StartGateway, database_url: str, session: aiohttp.ClientSession
) -> None:
    """Goal: 200 connections that send 1 MB each, with and without a key, are answered; the process stays small."""
    key, other = await create_key(database_url, "greedy"), await create_key(database_url, "other")
    gateway = await start_gateway(WBS_AUTH="on", **SMALL)
    api = Api(gateway.url, session).with_headers(authorization=f"Bearer {other}")
    assert (await api.charge()).status == 200
    process = psutil.Process(gateway.pid)
    before = process.memory_info().rss
    for secret, rest, expected in (
        (key, "Content-Length: 1000000", {400, 503}),
        (key, "X: " + "a" * 900_000, {413, 503}),
        ("wrong", "Content-Length: 1000000", {401, 429, 503}),
    ):
        statuses: list[int] = []
        pushes = [push(gateway, "127.0.0.2", head(secret, rest), 1_000_000, statuses) for _ in range(200)]
        pushing = asyncio.gather(*pushes)
        while not pushing.done():
            assert (await api.charge()).status == 200, "others are served"
        await pushing
        assert set(statuses) <= expected, (rest[:20], set(statuses))
        assert len(statuses) >= 160, "nearly all get to read their answer"
    assert process.memory_info().rss - before < 100 * MB
    assert not gateway.events("request_failed") or {e["code"] for e in gateway.events("request_failed")} == {
        "overloaded"
    }
    assert "Traceback" not in gateway.log.read_text()

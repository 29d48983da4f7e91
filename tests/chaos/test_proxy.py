"""The proxy cuts lines in each of the ways it promises, and mends them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
import pytest_asyncio

from lab.chaos.nonsense import REPLIES
from lab.chaos.proxy import Proxy
from tests.ports import free_port
from tests.tcp import Connection, connected, serving

Connect = Callable[[], Awaitable[Connection]]


@pytest_asyncio.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """A proxy before a server that echoes."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            received.append(data)
            writer.write(data)
            await writer.drain()

    received: list[bytes] = []
    async with serving(echo) as port:
        proxy = Proxy("test", free_port())
        proxy.target = ("127.0.0.1", port)
        proxy.received = received  # type: ignore[attr-defined]
        await proxy.start()
        yield proxy
        await proxy.stop()


@pytest_asyncio.fixture
async def connect(proxy: Proxy) -> AsyncIterator[Connect]:
    """Connects to the proxy; the connections are closed at the end."""
    async with AsyncExitStack() as lines:

        async def connect() -> Connection:
            return await lines.enter_async_context(connected(proxy.port))

        yield connect


async def ask(line: Connection, data: bytes = b"hello") -> bytes:
    reader, writer = line
    writer.write(data)
    async with asyncio.timeout(60):
        return await reader.readexactly(len(data))


async def stays_silent(reader: asyncio.StreamReader) -> bool:
    """Nothing comes for as long as a round trip takes many times over."""
    try:
        async with asyncio.timeout(0.2):
            await reader.read(1)
    except TimeoutError:
        return True
    return False


async def test_passes_much_data_both_ways(proxy: Proxy, connect: Connect) -> None:
    """Five megabytes come back as they went, though buffers are small."""
    line = await connect()
    data = bytes(range(256)) * 20_000
    writing = asyncio.create_task(_write(line[1], data))
    async with asyncio.timeout(60):
        assert await line[0].readexactly(len(data)) == data
        await writing
    line[1].close()


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def test_a_connection_that_both_sides_have_ended_is_let_go(
    proxy: Proxy, connect: Connect, poll_until: Callable[..., Any]
) -> None:
    """The client says that it will send no more, the server says so too: nothing of the pair stays."""
    reader, writer = line = await connect()
    await ask(line)
    [pair] = proxy._pairs
    writer.write_eof()
    async with asyncio.timeout(60):
        assert await reader.read() == b""
    await poll_until(lambda: not proxy._pairs)
    for transport in (pair.client, pair.target):
        assert transport is not None
        assert transport.is_closing()


async def test_reset_ends_connections_and_takes_new_ones(proxy: Proxy, connect: Connect) -> None:
    """RST for those that are there; the next one works."""
    line = await connect()
    assert await ask(line) == b"hello"
    await proxy.set_mode("reset")
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await ask(line)
    assert await ask(await connect()) == b"hello"


async def test_refuse_and_mend(proxy: Proxy, connect: Connect) -> None:
    """Nobody gets in until it is mended; then at the same port."""
    line = await connect()
    await ask(line)
    await proxy.set_mode("refuse")
    with pytest.raises(ConnectionRefusedError):
        await connect()
    await proxy.set_mode("pass")
    assert await ask(await connect()) == b"hello"


@pytest.mark.parametrize(("mode", "arrives"), [("blackhole", False), ("mute", True)])
async def test_what_was_held_back_comes_when_mended(
    proxy: Proxy, connect: Connect, poll_until: Callable[..., Any], mode: Any, arrives: bool
) -> None:
    """Blackhole: nothing gets through. Mute: the question does, its answer does not. Mended: all does."""
    line = await connect()
    await ask(line)
    await proxy.set_mode(mode)
    line[1].write(b"later")
    received: list[bytes] = proxy.received  # type: ignore[attr-defined]
    if arrives:
        await poll_until(lambda: b"later" in received)
    assert await stays_silent(line[0])
    assert (b"later" in received) is arrives
    await proxy.set_mode("pass")
    async with asyncio.timeout(60):
        assert await line[0].readexactly(5) == b"later"


async def test_a_blackhole_hides_the_end_of_the_other_side(proxy: Proxy, connect: Connect) -> None:
    """While nothing gets through, neither does the news that the target is gone."""
    line = await connect()
    await ask(line)
    await proxy.set_mode("blackhole")
    for pair in list(proxy._pairs):
        assert pair.target is not None
        pair.target.abort()
    assert await stays_silent(line[0])
    await proxy.set_mode("pass")
    async with asyncio.timeout(60):
        assert await line[0].read() == b""


async def test_delay_keeps_the_order(proxy: Proxy, connect: Connect) -> None:
    """Chunks come late, by the delay of each way; what is sent when it has ended does not overtake them."""
    line = await connect()
    await ask(line)
    loop = asyncio.get_running_loop()
    await proxy.set_mode("delay", 0.1)
    started = loop.time()
    assert await ask(line) == b"hello"
    assert loop.time() - started >= 0.2
    line[1].write(b"one")
    await line[1].drain()
    await proxy.set_mode("pass")
    line[1].write(b"two")
    async with asyncio.timeout(60):
        assert await line[0].readexactly(6) == b"onetwo"


async def test_a_target_that_is_away_ends_the_connection(proxy: Proxy, connect: Connect) -> None:
    """Nobody listens behind the proxy: the client's connection ends, it does not hang."""
    free = Proxy("free", free_port())
    port = free.port
    await free.stop()
    proxy.target = ("127.0.0.1", port)
    line = await connect()
    async with asyncio.timeout(60):
        with suppress(ConnectionResetError):
            assert await line[0].read() == b""


async def test_nonsense_replaces_answers_only(proxy: Proxy, connect: Connect) -> None:
    """Goal: what the client sends arrives as it was, what comes back is nothing that anybody said."""
    reader, writer = await connect()
    await proxy.set_mode("nonsense")
    writer.write(b"ask")
    async with asyncio.timeout(60):
        answer = await reader.read(65536)
    assert proxy.received == [b"ask"]  # type: ignore[attr-defined]
    assert answer in REPLIES
    await proxy.set_mode("pass")
    writer.write(b"again")
    async with asyncio.timeout(60):
        assert (await reader.read(65536)).endswith(b"again")

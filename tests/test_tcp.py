"""Connections of tests are closed before their test ends, so that no other test fails for them."""

import ast
import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests import tcp
from tests.polling import poll_until
from tests.test_tidy import name, sources, tree

STREAMS = {"open_connection", "open_unix_connection", "start_server", "start_unix_server"}


def opened(path: Path) -> Iterator[int]:
    """Yield the lines that name what opens a stream of asyncio."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and node.attr in STREAMS:
            yield node.lineno
        if isinstance(node, ast.ImportFrom) and STREAMS & {alias.name for alias in node.names}:
            yield node.lineno


def test_streams_are_opened_in_one_place() -> None:
    """Goal: no test opens a stream of its own, whose end it may forget to await."""
    tests = {name(path): list(opened(path)) for path in sources("tests")}
    assert len(tests.pop("tests/tcp.py")) == 2
    assert not {path: lines for path, lines in tests.items() if lines}


@pytest.mark.parametrize("ends", ["in peace", "by the server", "by a cut", "unread"])
async def test_nothing_stays_open(ends: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: however a connection ends, both of its sides are closed once the blocks are left."""
    monkeypatch.setattr(tcp, "CLOSE_S_MAX", 0.1)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sockets.append(writer.get_extra_info("socket"))
        if ends == "by a cut":
            writer.transport.abort()
        if ends == "unread":
            await asyncio.Event().wait()
        if ends == "in peace":
            await reader.read()

    sockets: list[socket.socket] = []
    async with tcp.serving(handle) as port:
        async with tcp.connected(port) as (reader, writer):
            ours = writer.get_extra_info("socket")
            writer.write(b"x" * (20_000_000 if ends == "unread" else 1))
            if ends.startswith("by "):
                with suppress(ConnectionError):
                    assert await reader.read() == b""
        assert ours.fileno() == -1
        await poll_until(lambda: sockets)
    assert sockets[0].fileno() == -1

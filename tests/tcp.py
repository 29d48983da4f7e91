"""TCP connections of tests, both ends: bounded in time, and closed before the test goes on.

The only place in the tests that opens a connection or a server of asyncio's streams. A connection whose closing nobody
awaits is found by the garbage collector, in the middle of another test, which then fails for it.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 60.0
CLOSE_S_MAX = 5.0

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def connected(
    to: str | int, *, timeout_s: float | None = TIMEOUT_S, **options: Any
) -> AsyncIterator[Connection]:
    """Connect to a URL's host and port, or to a port of loopback; `options` are those of `open_connection`.

    TimeoutError if all that is done with the connection takes longer than `timeout_s`.
    """
    address = urlsplit(to if isinstance(to, str) else f"tcp://127.0.0.1:{to}")
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_connection(address.hostname, address.port, **options)
        try:
            yield reader, writer
        finally:
            await close(writer)


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection, whatever the other side has done with it, and wait until it is closed."""
    if not writer.is_closing():
        writer.close()
    # A task of its own: once cancelled, it can't be awaited again.
    closing = asyncio.ensure_future(writer.wait_closed())
    try:
        await asyncio.wait([closing], timeout=CLOSE_S_MAX)
    finally:
        if not closing.done():
            abort(writer)
    with suppress(OSError):
        await closing


def abort(writer: asyncio.StreamWriter) -> None:
    """Cut a connection. One with TLS that was closed twice is past it (Python 3.11), and ends with its handshake."""
    with suppress(AttributeError):
        writer.transport.abort()


class Server:
    """Listens at a port of loopback. A connection ends with the `handle` that was called for it."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._listening: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.writers: set[asyncio.StreamWriter] = set()
        """Of the open connections."""

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._listening is not None
        port: int = self._listening.sockets[0].getsockname()[1]
        return port

    async def start(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        """Take connections."""
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=tls)

    def cut(self) -> None:
        """Cut every connection."""
        for writer in list(self.writers):
            abort(writer)

    @asynccontextmanager
    async def cutting(self, writer: asyncio.StreamWriter) -> AsyncIterator[None]:
        """Within the block, which ends with a cut, `cut` does so as well to a connection that a handler opened."""
        self.writers.add(writer)
        try:
            yield
        finally:
            self.writers.discard(writer)
            abort(writer)

    async def stop(self) -> None:
        """Take no more connections, cut those that there are and end what serves them."""
        assert self._listening is not None
        self._listening.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._listening.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.writers.add(writer)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._handle(reader, writer)
        finally:
            self.writers.discard(writer)
            await close(writer)


@asynccontextmanager
async def serving(handle: Handle, *, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Let `handle` serve each connection to the port that this yields."""
    server = Server(handle)
    await server.start(port, tls)
    try:
        yield server.port
    finally:
        await server.stop()

"""A TCP proxy on loopback that can lose what comes back, cut connections and refuse new ones."""

import asyncio
from contextlib import suppress
from typing import Self

from tests.tcp import Server, connected


class Proxy:
    """Passes bytes between its own port and `host:port`."""

    def __init__(self, host: str, port: int) -> None:
        self._target = f"tcp://{host}:{port}"
        self._server = Server(self._serve)
        self.loses_replies = False
        self.refuses = False
        self.refused = 0

    @property
    def port(self) -> int:
        return self._server.port

    async def start(self) -> Self:
        await self._server.start()
        return self

    def cut(self) -> None:
        """Cut every connection."""
        self._server.cut()

    async def stop(self) -> None:
        await self._server.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            self.refused += 1
            writer.transport.abort()
            return
        try:
            async with connected(self._target, timeout_s=None) as (there, back), self._server.cutting(back):
                await asyncio.gather(self._pass(reader, back), self._pass(there, writer, is_reply=True))
        finally:
            writer.transport.abort()

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_reply: bool = False
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                if is_reply and self.loses_replies:
                    continue
                sink.write(data)
                await sink.drain()
        sink.transport.abort()

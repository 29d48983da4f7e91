"""A bank that ends each call in a prepared way, down to the bytes, as no well-behaved server would."""

import asyncio
import socket
import ssl
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from tests.tcp import Server


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Ending = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


class FaultServer:
    """Takes the next ending from `script` for each request; `requests` are those that arrived."""

    def __init__(self) -> None:
        self.script: deque[Ending] = deque()
        self.requests: list[Request] = []
        self.connections = 0
        self._server = Server(self._serve)
        self._scheme = "http"

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        self._scheme = "https" if tls else "http"
        await self._server.start(tls=tls)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.port}"

    async def stop(self) -> None:
        await self._server.stop()

    def close_connections(self) -> None:
        """Close the kept-alive connections, like a server that restarts or times them out."""
        for writer in list(self._server.writers):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while not writer.is_closing():
            request = await _read_request(reader)
            self.requests.append(request)
            await self.script.popleft()(request, writer)


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, path, headers, body)


# --- Endings ---


def answer(status: int, body: bytes | dict[str, object] = b"", *, length: int | None = None) -> Ending:
    """Answer in full; or, with a `length` greater than the body's, in part, then close."""
    encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)
    declared = len(encoded) if length is None else length

    async def end(_: Request, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {declared}\r\n\r\n"
        writer.write(head.encode() + encoded)
        await writer.drain()
        if declared != len(encoded):
            writer.close()

    return end


def raw(data: bytes) -> Ending:
    """Send these bytes and close."""

    async def end(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.close()

    return end


def trickle(data: bytes) -> Ending:
    """Send these bytes one by one."""

    async def end(_: Request, writer: asyncio.StreamWriter) -> None:
        for byte in data:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    return end


async def reset(_: Request, writer: asyncio.StreamWriter) -> None:
    """Cut the connection with a RST."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def close(_: Request, writer: asyncio.StreamWriter) -> None:
    """Close without a word."""
    writer.close()


async def hang(_: Request, writer: asyncio.StreamWriter) -> None:
    """Say nothing until the other side goes away."""
    while not writer.is_closing():
        await asyncio.sleep(0.01)
        if writer.transport.is_closing():
            return

"""Connecting to a server through a proxy: CONNECT (RFC 9110, 9.3.6), then TLS with the server itself.

The proxy learns the server's name and port. It can't read the traffic in the tunnel, including credentials.
"""

import asyncio
import ssl
from dataclasses import dataclass, field

import httptools

REPLY_BYTES_MAX = 16 * 1024


class TunnelRefused(OSError):
    """There is no tunnel; the message says why and contains no credential."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy; `tls` is for the connection to it (None: unencrypted)."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    authorization: str = field(default="", repr=False)
    """A header line including its line end, or an empty text."""


async def open_tunnel(
    proxy: Proxy, host: str, port: int, protocol: asyncio.Protocol, tls: ssl.SSLContext
) -> None:
    """Connect `protocol` to a server by TLS through the proxy. Raises TunnelRefused, OSError, ssl.SSLError."""
    loop = asyncio.get_running_loop()
    handshake: _Handshake
    transport, handshake = await loop.create_connection(
        _Handshake,
        proxy.host,
        proxy.port,
        ssl=proxy.tls,
        server_hostname=proxy.host if proxy.tls else None,
    )
    try:
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        head = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{proxy.authorization}\r\n"
        transport.write(head.encode("ascii"))
        status = await handshake.status
        if not 200 <= status < 300:
            raise TunnelRefused(f"the proxy answers {status}")
        protocol.connection_made(transport)  # so that it can hang up if data arrives too early
        inner = await loop.start_tls(transport, protocol, tls, server_hostname=host)
        if inner is None:
            raise TunnelRefused("the connection was lost")
    except BaseException:
        transport.abort()
        raise
    protocol.connection_made(inner)


class _Handshake(asyncio.Protocol):
    """Reads the proxy's answer to CONNECT."""

    def __init__(self) -> None:
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.status.add_done_callback(_seen)
        self._parser = httptools.HttpResponseParser(self)
        self._bytes_left = REPLY_BYTES_MAX

    def data_received(self, data: bytes) -> None:
        """Take received data from the event loop.

        Data after the head is dropped: the server itself sends nothing before TLS begins.
        """
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            self._refuse("the proxy says too much")
        if self.status.done():
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._refuse(f"the proxy does not speak HTTP: {type(error).__name__}")

    def on_headers_complete(self) -> None:
        """Take the status from the parser."""
        status = self._parser.get_status_code()
        if status >= 200 and not self.status.done():
            self.status.set_result(status)

    def eof_received(self) -> None:
        """End the handshake: the proxy has hung up."""
        self._refuse("the proxy hung up")

    def connection_lost(self, error: Exception | None) -> None:
        """End the handshake: the connection is gone."""
        self._refuse("the connection to the proxy was lost")

    def _refuse(self, reason: str) -> None:
        if not self.status.done():
            self.status.set_exception(TunnelRefused(reason))


def _seen(status: asyncio.Future[int]) -> None:
    """Retrieve the result, so that asyncio does not complain if nobody waits for it any more."""
    if not status.cancelled():
        status.exception()

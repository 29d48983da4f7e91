"""HTTP for calls to webhook endpoints, by aiohttp: a module of its own, for that library takes 0.2 s to load.

A name is resolved once for each connection, which is made to just that address, after it was checked. No redirect is
followed, no proxy used, no cookie kept.
"""

import asyncio
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from runtime.webhook_addresses import is_public

_CONNECT_S = 5.0
_BODY_S = 2.0
_KEEP_S = 15.0
_ANSWER_BYTES_MAX = 64 * 1024
_LOOK_UPS = 32


class NotPublic(OSError):
    """The address is not one that webhooks may go to."""


class WebhookHttp:
    """Connections to endpoints. `private`: private addresses may be called."""

    def __init__(self, *, private: bool) -> None:
        self._private = private
        self._resolver = _Resolver()
        self._session = self._open()

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> tuple[int | None, str]:
        """Return the status and the beginning of the body of the answer; if there is none, None and why.

        Raises TimeoutError.
        """
        try:
            return await self._post(url, headers, body)
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return None, _reason(error)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
        await self._resolver.close()

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            read = b""
            with suppress(aiohttp.ClientError, TimeoutError):  # the status is what counts
                async with asyncio.timeout(_BODY_S):
                    while len(read) < _ANSWER_BYTES_MAX and (piece := await response.content.read(4096)):
                        read += piece
            if not response.content.at_eof():
                response.close()
            return response.status, read.decode(errors="replace")

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            resolver=self._resolver,
            use_dns_cache=False,
            limit=0,
            keepalive_timeout=_KEEP_S,
            ssl=ssl.create_default_context(),
            socket_factory=self._socket,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
            headers={"user-agent": "wbs-webhooks/1", "content-type": "application/json"},
            auto_decompress=False,
            trust_env=False,
        )

    def _socket(self, address: Any) -> socket.socket:
        """Return a socket for an address that is about to be connected to. Raises NotPublic."""
        family, kind, protocol, _, place = address
        if not self._private and not is_public(place[0]):
            raise NotPublic("not a public address")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made


class _Resolver(AbstractResolver):
    """Looks names up in threads of its own: a name server that hangs delays no other look-ups."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOK_UPS, thread_name_prefix="webhook-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name."""
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        )
        return [
            ResolveResult(
                hostname=host,
                host=str(place[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, place in found
        ]

    async def close(self) -> None:
        """Take no more look-ups."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the name can't be resolved"
    inner = getattr(error, "os_error", None) or error.__cause__ or error
    if isinstance(inner, NotPublic) or "not a public address" in str(error):
        return "not a public address (WBS_WEBHOOKS_PRIVATE)"
    return f"{type(error).__name__}: {error}"

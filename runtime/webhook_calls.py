"""Calls to webhook endpoints: signed as Standard Webhooks prescribes, and made only to permitted addresses.

A name is resolved once for each connection, which is made to just that address, after it was checked. No redirect is
followed, no proxy used, no cookie kept.
"""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from standardwebhooks import Webhook

from runtime.spans import NOTHING, Attributes, Span, spans
from runtime.webhook_addresses import check_webhook_url, is_public
from wallet.traces import Trace

TIMEOUT_S = 10.0
"""Longest time of a call, from the look-up of the name to the end of the answer."""
_CONNECT_S = 5.0
_BODY_S = 2.0
_KEEP_S = 15.0
_ANSWER_BYTES_MAX = 64 * 1024
_SHOWN_CHARS = 200
_LOOK_UPS = 32
_GONE = 410
_LATER = (429, 502, 503, 504)
"""Statuses from something in front of the endpoint, or that ask for a later call, whatever the event."""


class NotPublic(OSError):
    """The address is not one that webhooks may go to."""


class Answer(NamedTuple):
    """What came of a call."""

    status_code: int | None
    """None if there was no answer."""
    error: str | None
    """Why there was none."""
    text: str | None
    """The beginning of the answer's body."""
    took_ms: int

    @property
    def delivered(self) -> bool:
        """Whether the endpoint has taken the event."""
        return self.status_code is not None and self.status_code // 100 == 2

    @property
    def gone(self) -> bool:
        """Whether the endpoint wants no more events at all."""
        return self.status_code == _GONE

    @property
    def unreachable(self) -> bool:
        """Whether the endpoint can't take any event now."""
        return self.status_code is None or self.status_code in _LATER

    @property
    def status(self) -> str:
        """Return `delivered`, `refused` or `unreachable`."""
        return "delivered" if self.delivered else "unreachable" if self.unreachable else "refused"


class WebhookCalls:
    """Makes the calls. `private`: http and private addresses may be called."""

    def __init__(self, *, private: bool, timeout_s: float = TIMEOUT_S) -> None:
        self._private = private
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._resolver = _Resolver()

    async def post(
        self,
        url: str,
        secrets: Sequence[str],
        id: str,
        body: bytes,
        trace: Trace | None = None,
        about: Attributes = NOTHING,
    ) -> Answer:
        """Post a message with an identifier, signed by each of the secrets, and return what came of it.

        The call is a span of its own in `trace`; `about` is what is said of it.
        """
        with spans.call("POST", trace, about) as span:
            answer = await self._answer(url, secrets, id, body, span)
            span.note(
                {"http.request.method": "POST", "http.response.status_code": answer.status_code},
                error=None if answer.delivered else answer.status,
            )
        return answer

    async def _answer(self, url: str, secrets: Sequence[str], id: str, body: bytes, span: Span) -> Answer:
        began_at = monotonic()
        try:
            check_webhook_url(url, private=self._private)
            span.note({"server.address": urlsplit(url).hostname})
            async with asyncio.timeout(self._timeout_s):
                traced = {} if span.trace is None else span.trace.headers()
                status_code, text = await self._post(url, signed_headers(secrets, id, body) | traced, body)
        except TimeoutError:
            return Answer(None, f"no answer within {self._timeout_s:g} s", None, _ms_since(began_at))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(None, _reason(error), None, _ms_since(began_at))
        return Answer(status_code, None, text, _ms_since(began_at))

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
        await self._resolver.close()

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        if self._session is None:
            self._session = self._open()
        async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            read = b""
            with suppress(aiohttp.ClientError, TimeoutError):  # the status is what counts
                async with asyncio.timeout(_BODY_S):
                    while len(read) < _ANSWER_BYTES_MAX and (piece := await response.content.read(4096)):
                        read += piece
            if not response.content.at_eof():
                response.close()
            return response.status, read.decode(errors="replace").replace("\0", "")[:_SHOWN_CHARS]

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


def signed_headers(secrets: Sequence[str], id: str, body: bytes) -> dict[str, str]:
    """Return the headers of Standard Webhooks: one signature per secret."""
    at = datetime.now(UTC)
    signatures = (Webhook(secret).sign(id, at, body.decode()) for secret in secrets)
    return {
        "webhook-id": id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _ms_since(began_at: float) -> int:
    return round(1000 * (monotonic() - began_at))


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the name can't be resolved"
    inner = getattr(error, "os_error", None) or error.__cause__ or error
    if isinstance(inner, NotPublic) or "not a public address" in str(error):
        return "not a public address (WBS_WEBHOOKS_PRIVATE)"
    return f"{type(error).__name__}: {error}"[:_SHOWN_CHARS]

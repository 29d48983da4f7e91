"""The fast path of plain requests. All others go Sanic's own way, with the same result.

Sanic's way has room for middleware, signals, websockets and streams, and this application has none of them: they cost
some 10 of a charge's 70 µs in the gateway (docs/adr/0011-plain-requests.md). `WBS_FAST_PATH=0` switches the fast path
off. This module knows `Sanic.handle_request`, as of Sanic 25.12; `gateway.wire.checked_http` and
`gateway.wire.connection` know more of its insides.
"""

import re
from typing import Any

from sanic.exceptions import SanicException

from gateway.contract.bodies import BODY_BYTES_MAX
from gateway.wire.checked_http import CheckedHttp
from gateway.wire.connection import CheckedProtocol
from gateway.wire.head import is_field_name

_NOT_PLAIN = frozenset({"expect", "origin", "sec-fetch-site", "transfer-encoding", "upgrade"})
"""Headers that change how a connection continues, how the length of a body is found, or who may do what."""

_USUAL_NAMES = (
    "Accept",
    "Accept-Encoding",
    "Authorization",
    "Connection",
    "Content-Length",
    "Content-Type",
    "Host",
    "Idempotency-Key",
    "User-Agent",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Request-Id",
)


_not_in_targets = re.compile(r'["#<>\\]|%(?![0-9A-Fa-f]{2})').search

_PLAIN_METHODS = frozenset({"GET", "HEAD", "POST"})


class _FieldNames(dict[str, str]):
    """Names of header fields in small letters, by the name as it came. Raises ValueError for what is no name."""

    def __missing__(self, name: str) -> str:
        if not is_field_name(name):
            raise ValueError(name)
        return name.lower()


_names = _FieldNames({spelling: name.lower() for name in _USUAL_NAMES for spelling in (name, name.lower())})


class PlainHttp(CheckedHttp):
    """Reads plain requests by itself: HTTP/1.1, complete, with a `Content-Length` if there is a body."""

    async def http1_request_header(self) -> None:
        """Fill in `self.request`, its body included where it is plain. Raises as `CheckedHttp` does."""
        if not self._read_plain():
            await super().http1_request_header()

    def _read_plain(self) -> bool:
        """Read a request as Sanic would and return True, if it is plain; else change nothing and return False."""
        protocol: Any = self.protocol
        buffer: bytearray = self.recv_buffer
        end = buffer.find(b"\r\n\r\n")
        if not 0 < end < self.HEADER_MAX_SIZE:
            return False
        head = bytes(buffer[:end])
        try:
            text = head.decode("ascii")
            first_line, *lines = text.split("\r\n")
            method, url, version = first_line.split(" ")
            fields = {}
            for line in lines:
                name, value = line.split(":", 1)
                if not value.isprintable():
                    return False
                fields[_names[name]] = value.lstrip()
            # Not plain: a line end within a line, a field that comes twice, a Host that nobody has looked at yet.
            if (
                not first_line.isprintable()
                or version != "HTTP/1.1"
                or method not in _PLAIN_METHODS
                or len(fields) != len(lines)
                or not _NOT_PLAIN.isdisjoint(fields)
                or fields.get("host") not in self.known_hosts
                or fields.get("connection", "keep-alive").lower() != "keep-alive"
                or _not_in_targets(url)
                or url[:1] != "/"
                or url[1:2] == "/"
            ):
                return False
            length = fields.get("content-length", "0")
            body_start = end + 4
            body_end = body_start + int(length)
            if not length.isdigit() or len(buffer) < body_end or body_end - body_start > BODY_BYTES_MAX:
                return False
            request = protocol.request_class(
                url_bytes=url.encode("ascii"),
                headers=fields,
                head=head,
                version="1.1",
                method=method,
                transport=protocol.transport,
                app=protocol.app,
            )
        except (ValueError, SanicException):  # the other way says what is wrong
            return False
        request.body = bytes(buffer[body_start:body_end])
        del buffer[:body_end]
        self.url, self.keep_alive = url, protocol.app.config.KEEP_ALIVE
        self.head_only = method == "HEAD"
        self.chunks, self.cors_lines = None, b""
        self.request_bytes = self.request_bytes_left = 0
        protocol.state["requests_count"] += 1
        self.request, request.stream = request, self
        return True


def protocol_class(*, fast_path: bool) -> type[CheckedProtocol]:
    """Return the class whose objects each serve a connection."""
    return PlainProtocol if fast_path else CheckedProtocol


class PlainProtocol(CheckedProtocol):
    """A connection to a client, with the fast path. Every handler of the application has to return a `Response`."""

    HTTP_CLASS = PlainHttp

    def _setup(self) -> None:
        super()._setup()
        self.request_handler = self._handle

    async def _handle(self, request: Any) -> None:
        """Do what `Sanic.handle_request` does, for an application without middleware, signals and websockets.

        All bodies are left to the endpoints.
        """
        app: Any = self.app
        stream = request.stream
        try:
            request.route, handler, parts = app.router.get(
                request.path, request.method, request.headers.get("host")
            )
            response = await handler(request, **parts)
            await stream.respond(response).send()
        except Exception as error:  # noqa: BLE001 - the boundary, as in Sanic
            await app.handle_exception(request, error)

"""The fast path of plain requests. All others go Sanic's own way, with the same result.

Sanic's way has room for middleware, signals, websockets and streams, and this application has none of them: they cost
some 10 of a charge's 70 µs in the gateway (docs/adr/0011-plain-requests.md). `WBS_FAST_PATH=0` switches the fast path
off. This module knows `Http` of sanic.http.http1, `HttpProtocol` and `Sanic.handle_request`, as of Sanic 25.12.
"""

from typing import Any

from sanic.compat import Header
from sanic.exceptions import BadRequest, SanicException
from sanic.http.http1 import Http
from sanic.server.protocols.http_protocol import HttpProtocol

from gateway.contract.bodies import BODY_BYTES_MAX

_NOT_PLAIN = frozenset({"connection", "expect", "transfer-encoding", "upgrade"})
"""Headers that change how a connection continues, or how the length of a body is found."""


class CheckedHttp(Http):
    """Reads requests as Sanic does, and refuses those that a proxy in front could have read otherwise."""

    async def http1_request_header(self) -> None:
        """Fill in `self.request`. Raises SanicException."""
        await super().http1_request_header()  # type: ignore[no-untyped-call]
        _check_headers(self.request.headers)


class PlainHttp(CheckedHttp):
    """Reads plain requests by itself: HTTP/1.1, complete, with a `Content-Length` if there is a body."""

    async def http1_request_header(self) -> None:
        """Fill in `self.request`, its body included where it is plain. Raises SanicException."""
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
            first_line, *lines = head.decode("ascii").split("\r\n")
            method, url, version = first_line.split(" ")
            headers = []
            length = None
            for line in lines:
                name, value = line.split(":", 1)
                if name != name.strip() or not line.isprintable():
                    return False  # `_check_headers` looks closer
                name, value = name.lower(), value.lstrip()
                if name in _NOT_PLAIN and (name, value.lower()) != ("connection", "keep-alive"):
                    return False
                if name == "content-length":
                    if length is not None or not value.isdigit():
                        return False
                    length = int(value)
                headers.append((name, value))
            body_start = end + 4
            body_end = body_start + (length or 0)
            if version != "HTTP/1.1" or len(buffer) < body_end or body_end - body_start > BODY_BYTES_MAX:
                return False
            request = protocol.request_class(
                url_bytes=url.encode("ascii"),
                headers=Header(headers),
                head=head,
                version="1.1",
                method=method,
                transport=protocol.transport,
                app=protocol.app,
            )
        except (ValueError, SanicException):  # Sanic says what is wrong
            return False
        request.body = bytes(buffer[body_start:body_end])
        del buffer[:body_end]
        self.url, self.keep_alive = url, protocol.app.config.KEEP_ALIVE
        self.head_only = method.upper() == "HEAD"
        self.request_bytes = self.request_bytes_left = 0
        protocol.state["requests_count"] += 1
        self.request, request.stream = request, self
        return True


def _check_headers(headers: Header) -> None:
    """Raise BadRequest where a proxy could have read another header, or another body, than Sanic has.

    White space around a name, folded lines, and line ends or NUL within a value: RFC 9112, sections 5.1 and 5.2, and
    RFC 9110, section 5.5. `Content-Length : 5` would be no length to Sanic, and the body the next request.
    """
    for name, value in headers.items():
        if name != name.strip() or any(char in value for char in "\r\n\0"):
            raise BadRequest("Bad Request")


def protocol_class(*, fast_path: bool) -> type[HttpProtocol]:
    """Return the class whose objects each serve a connection."""
    return PlainProtocol if fast_path else CheckedProtocol


class CheckedProtocol(HttpProtocol):
    """A connection to a client, whose requests all go Sanic's own way."""

    HTTP_CLASS = CheckedHttp


class PlainProtocol(HttpProtocol):
    """A connection to a client, with the fast path. Every handler of the application has to return a `Response`."""

    HTTP_CLASS = PlainHttp

    def _setup(self) -> None:
        super()._setup()  # type: ignore[no-untyped-call]
        self.request_handler = self._handle

    async def _handle(self, request: Any) -> None:
        """Do what `Sanic.handle_request` does, for an application without middleware, signals and websockets."""
        app: Any = self.app
        stream = request.stream
        try:
            request.route, handler, parts = app.router.get(
                request.path, request.method, request.headers.get("host")
            )
            if stream.request_body:
                if hasattr(handler, "is_stream"):
                    stream.request_max_size = float("inf")
                else:
                    await request.receive_body()
            response = await handler(request, **parts)
            await stream.respond(response).send()
        except Exception as error:  # noqa: BLE001 - the boundary, as in Sanic
            await app.handle_exception(request, error)

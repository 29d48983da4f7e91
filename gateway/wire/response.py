"""A response on the wire, formatted once.

Sanic builds a response from a multidict of headers, line by line, and checks each value. Our headers are few and made
by us, so they are joined as bytes here. `Response.send` knows class `Http` of sanic.http.http1.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from sanic.compat import Header
from sanic.http.constants import Stage
from sanic.response import BaseHTTPResponse

from gateway.contract.bodies import JSON, NDJSON

_STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus
}
_CONTENT_TYPES = {kind: b"content-type: %s\r\n" % kind.encode() for kind in (JSON, NDJSON)}
_UNUSED = Header({})


class Response(BaseHTTPResponse):
    """A whole response. The endpoint's wrapper fills in `request_id` before it is sent."""

    __slots__ = ("extra", "request_id")

    def __init__(
        self, body: bytes, status: int = 200, content_type: str = JSON, extra: Mapping[str, str] | None = None
    ) -> None:
        # Not super().__init__(): it makes a multidict that is never read.
        self.asgi = False
        self.body = body
        self.content_type = content_type
        self.stream = None
        self.status = status
        self.headers = _UNUSED
        self._cookies = None
        self.extra = extra
        self.request_id = ""

    def _head(self, keep_alive: bool, http_1_0: bool) -> bytes:
        assert self.content_type is not None
        assert self.body is not None
        if self.status == 204:  # RFC 9110, 8.6: no length where there can be no body
            head = b"%bx-request-id: %b\r\n" % (_STATUS_LINES[204], self.request_id.encode("ascii"))
        else:
            kind = _CONTENT_TYPES.get(self.content_type)
            head = b"%bcontent-length: %d\r\n%bx-request-id: %b\r\n" % (
                _STATUS_LINES[self.status],
                len(self.body),
                kind or b"content-type: %s\r\n" % self.content_type.encode(),
                self.request_id.encode("ascii"),
            )
        if self.extra:
            for name, value in self.extra.items():
                head += b"%b: %b\r\n" % (name.encode("ascii"), value.encode("latin-1"))
        if not keep_alive:
            head += b"connection: close\r\n"
        elif http_1_0:
            head += b"connection: keep-alive\r\n"
        return head + b"\r\n"

    async def send(self, data: Any = None, end_stream: bool | None = None) -> None:
        """Write the response to the connection; called by Sanic, once."""
        http: Any = self.stream
        if http.response_func is None:
            return
        http.response_func = None
        raw = self._head(http.keep_alive, http.request.version == "1.0")
        if not http.head_only:
            raw += self.body or b""
        if http.expecting_continue:
            # The client waits for a 100 before it sends its body. Sanic will read and drop that body.
            http.expecting_continue = False
            raw = b"HTTP/1.1 100 Continue\r\n\r\n" + raw
        await http._send(raw)
        http.stage = Stage.IDLE

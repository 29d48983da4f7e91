"""A response on the wire, formatted once.

Sanic builds a response from a multidict of headers, line by line, and checks each value. Our headers are few and made
by us, so they are joined as bytes here. `Response.send` knows class `Http` of sanic.http.http1.
"""

from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from time import time
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
_NOTHING: dict[str, Any] = {}

_CONTENT_POLICY = "content-security-policy"
_PROTECTION = (
    b"cache-control: no-store\r\nx-content-type-options: nosniff\r\nx-frame-options: DENY\r\n"
    b"cross-origin-resource-policy: same-origin\r\nreferrer-policy: no-referrer\r\n"
)
"""With every response: no cache keeps it, no browser guesses what it is, no page of another site shows it."""
_NO_FRAMES = b"content-security-policy: frame-ancestors 'none'\r\n"
"""With every response that is no page of ours; those have policies of their own."""


class DateLine:
    """The line that tells when a response was made, formatted once per second."""

    def __init__(self) -> None:
        self._second = -1
        self._line = b""

    def now(self) -> bytes:
        """Return the line."""
        second = int(time())
        if second != self._second:
            self._second, self._line = second, b"date: %b\r\n" % formatdate(second, usegmt=True).encode()
        return self._line


_date = DateLine()


class Response(BaseHTTPResponse):
    """A whole response. The endpoint's wrapper fills in `request_id` before it is sent."""

    __slots__ = ("code", "extra", "request_id", "wrote")

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
        self.code: str | None = None
        """Of the problem, if it is one."""
        self.wrote: Mapping[str, Any] = _NOTHING
        """The ids of what the request has written, for its line in the log."""

    @property
    def refused_share(self) -> float:
        """Of the items in a bulk, which part was refused, 0 to 1."""
        items = self.wrote.get("items")
        return self.wrote["refused"] / items if items else 0.0

    def _head(self, http: Any) -> bytes:
        assert self.content_type is not None
        if self.status == 204:  # RFC 9110, 8.6: no length where there can be no body
            head = b"%bx-request-id: %b\r\n" % (_STATUS_LINES[204], self.request_id.encode("ascii"))
        else:
            kind = _CONTENT_TYPES.get(self.content_type)
            head = b"%b%b%bx-request-id: %b\r\n" % (
                _STATUS_LINES[self.status],
                self._framing(http),
                kind or b"content-type: %s\r\n" % self.content_type.encode(),
                self.request_id.encode("ascii"),
            )
        policy = _NO_FRAMES
        if self.extra:
            for name, value in self.extra.items():
                head += b"%b: %b\r\n" % (name.encode("ascii"), value.encode("latin-1"))
            if _CONTENT_POLICY in self.extra:
                policy = b""
        if not http.keep_alive:
            head += b"connection: close\r\n"
        elif http.request.version == "1.0":
            head += b"connection: keep-alive\r\n"
        return b"%b%b%b%b%b\r\n" % (head, _date.now(), _PROTECTION, policy, http.cors_lines)

    def _framing(self, http: Any) -> bytes:
        """Return the line that says where the body ends."""
        assert self.body is not None
        return b"content-length: %d\r\n" % len(self.body)

    async def send(self, data: Any = None, end_stream: bool | None = None) -> None:
        """Write the response to the connection; called by Sanic, once."""
        http: Any = self.stream
        if http.response_func is None:
            return
        http.response_func = None
        if http.request_body:
            http.leave_body()
        raw = self._head(http)
        if not http.head_only:
            raw += self.body or b""
        await http.write(raw)
        http.stage = Stage.IDLE

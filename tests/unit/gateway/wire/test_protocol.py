"""The fast path reads what Sanic reads: the same request, the same rest for the next one, or the same refusal.

But for headers that a proxy might read otherwise, which Sanic takes and we refuse.
"""

from collections.abc import Awaitable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sanic import Request
from sanic.exceptions import BadRequest, SanicException
from sanic.http.http1 import Http
from sanic.router import Router
from sanic.server.protocols.http_protocol import HttpProtocol

from gateway.contract.bodies import BODY_BYTES_MAX
from gateway.wire.application import make_application
from gateway.wire.protocol import CheckedHttp, CheckedProtocol, PlainHttp, PlainProtocol, protocol_class
from gateway.wire.router import LookUpRouter

HEADER_BYTES_MAX = 8192


class MoreIsAwaited(Exception):
    """The request is not all there yet."""


def connection(kind: type[Http], received: bytes, *, keep_alive: bool) -> Any:
    async def receive_more() -> None:
        raise MoreIsAwaited

    async def nothing(*_: Any, **__: Any) -> None:
        pass

    app = SimpleNamespace(config=SimpleNamespace(KEEP_ALIVE=keep_alive), dispatch=nothing)
    protocol = SimpleNamespace(
        send=nothing,
        receive_more=receive_more,
        recv_buffer=bytearray(received),
        app=app,
        request_class=Request,
        request_max_size=BODY_BYTES_MAX,
        state={"requests_count": 0},
        transport=None,
    )
    http = kind(protocol)
    http.init_for_request()
    return http


def at_once(awaitable: Awaitable[Any]) -> Any:
    """Return what nothing needs to be waited for."""
    with pytest.raises(StopIteration) as end:
        awaitable.__await__().__next__()
    return end.value.value


def read(http: Any) -> Any:
    """Return the request as it was understood, with its body, or what was wrong, and what is left for the next one."""
    try:
        at_once(http.http1_request_header())
        body = http.request.body
        while http.request_body:
            body += at_once(http.read()) or b""
    except (SanicException, MoreIsAwaited) as error:
        return type(error), str(error), bytes(http.recv_buffer)
    request = http.request
    assert request.stream is http
    return (
        (request.method, request.raw_url, request.version, list(request.headers.items()), request.head, body),
        (http.url, http.keep_alive, http.head_only, http.upgrade_websocket, http.expecting_continue),
        (http.request_body, http.request_bytes_left, http.protocol.state, bytes(http.recv_buffer)),
    )


FIRST_LINES = st.sampled_from(
    [
        b"POST /charge HTTP/1.1",
        b"GET /balance/42?currency=EUR HTTP/1.1",
        b"HEAD / HTTP/1.1",
        b"head / HTTP/1.1",
    ]
    * 6
    + [b"GET / HTTP/1.0", b"GET / HTTP/2", b"GET /", b"GET  HTTP/1.1", b"GET / x HTTP/1.1", b""]
    + [b"GET x HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET http://h:x/ HTTP/1.1", b"GET /\xc3\xa9 HTTP/1.1"]
    + [b"GET /" + b"a" * 70_000 + b" HTTP/1.1"]
)
USUAL = st.sampled_from(
    [b"Host: a", b"Content-Type: application/json", b"Idempotency-Key: k", b"X: 1", b"x:2"]
)
UNUSUAL = st.sampled_from(
    [
        b"Connection: keep-alive",
        b"connection: Keep-Alive",
        b"Connection: close",
        b"Connection: keep-alive, Upgrade",
        b"Expect: 100-continue",
        b"Expect: x",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding:",
        b"Upgrade: websocket",
        b" folded: 5",
        b"no colon",
        b":",
        b"",
        b"X: \xff",
        b"X: \xc3\xa9",
        b"X: \x00",
        b"Content-Length: 5",
        b"content-length:5",
        b"Content-Length: 0",
        b"Content-Length: 70000",
        b"Content-Length: +5",
        b"Content-Length: 5 ",
        b"Content-Length: 0_5",
        b"Content-Length: x",
        b"Content-Length: -1",
        b"Content-Length : 5",
        b"Content-Length: \xb2",
        b"Content-Length: " + b"9" * 5000,
        b"X: a\nTransfer-Encoding: chunked",
        b"X: " + b"x" * HEADER_BYTES_MAX,
    ]
)
BODIES = st.sampled_from(
    [b"", b"hello", b"hello world", b"hell", b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"x" * 70_000]
)
RESTS = st.sampled_from([b"", b"GET /next HTTP/1.1\r\n\r\n", b"\r\n"])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request that is plain, or is spoilt in one or two ways."""
    body = draw(BODIES)
    headers = draw(st.lists(USUAL))
    if draw(st.booleans()):
        headers.append(b"Content-Length: %d" % len(body))
    for unusual in draw(st.lists(UNUSUAL, max_size=2)):
        headers.insert(draw(st.integers(0, len(headers))), unusual)
    received = b"\r\n".join([draw(FIRST_LINES), *headers, b"", body]) + draw(RESTS)
    if draw(st.integers(0, 4)) == 0:  # cut off
        received = received[: draw(st.integers(0, min(len(received), 200)))]
    if received and draw(st.integers(0, 4)) == 0:  # a byte changed
        position = draw(st.integers(0, min(len(received), 200) - 1))
        received = received[:position] + draw(st.binary(max_size=2)) + received[position + 1 :]
    return received


@pytest.fixture(autouse=True)
def _limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Http, "HEADER_MAX_SIZE", HEADER_BYTES_MAX)


@settings(max_examples=1_500)
@given(requests(), st.booleans())
def test_reads_what_sanic_reads(received: bytes, keep_alive: bool) -> None:
    """Goal: a request, spoilt in any way, is understood or refused as by Sanic's own reader; ambiguity is refused."""
    theirs, ours = (
        connection(Http, received, keep_alive=keep_alive),
        connection(PlainHttp, received, keep_alive=keep_alive),
    )
    outcome = read(theirs)
    if theirs.request is not None and ambiguous(theirs.request):
        with pytest.raises(BadRequest):
            at_once(ours.http1_request_header())
    else:
        assert read(ours) == outcome


def ambiguous(request: Request) -> bool:
    """Tell whether a header has white space around its name, or a line end or NUL in its value."""
    return any(
        name.strip() != name or {"\r", "\n", "\0"} & set(value) for name, value in request.headers.items()
    )


@pytest.mark.parametrize(
    "header",
    [b"Content-Length : 5", b"Content-Length\t: 5", b" folded: 1", b"X: a\nContent-Length: 5", b"X: \0"],
)
@pytest.mark.parametrize("more", [b"", b"\r\nX: \xc3\xa9", b"\r\nExpect: 100-continue"])
@pytest.mark.parametrize("kind", [PlainHttp, CheckedHttp])
def test_what_a_proxy_may_read_otherwise_is_refused(kind: type[Http], header: bytes, more: bytes) -> None:
    """Goal: no second request hides in the body of a first one, whichever way is taken."""
    http = connection(kind, b"POST / HTTP/1.1\r\n" + header + more + b"\r\n\r\nhello", keep_alive=True)
    with pytest.raises(BadRequest):
        at_once(http.http1_request_header())


@pytest.mark.parametrize(
    "received",
    [
        b"GET /balance/42 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /balance/42 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\nGET /next",
        b"POST /charge HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /charge HTTP/1.1\r\nHost: a\r\nContent-Length: 65536\r\n\r\n" + b" " * 65536,
    ],
)
def test_plain_requests_take_the_fast_path(received: bytes) -> None:
    """Goal: the requests that nearly every client sends don't go Sanic's way."""
    assert connection(PlainHttp, received, keep_alive=True)._read_plain()


@pytest.mark.parametrize(
    "received",
    [
        b"GET /balance/42 HTTP/1.0\r\n\r\n",
        b"GET /balance/42 HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"POST /charge HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /charge HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /charge HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n{}",
        b"POST /charge HTTP/1.1\r\nContent-Length: 2\r\n\r\n{",
        b"POST /charge HTTP/1.1\r\nContent-Length: 65537\r\n\r\n" + b" " * 65537,
        b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
    ],
)
def test_others_are_left_to_sanic(received: bytes) -> None:
    """Goal: what is not plain is left alone, byte for byte."""
    http = connection(PlainHttp, received, keep_alive=True)
    assert not http._read_plain()
    assert bytes(http.recv_buffer) == received


def test_the_fast_path_can_be_switched_off() -> None:
    """Goal: if Sanic's insides change, the service runs without the code that knows them."""
    assert protocol_class(fast_path=True) is PlainProtocol
    assert protocol_class(fast_path=False) is CheckedProtocol
    assert not issubclass(CheckedProtocol.HTTP_CLASS, PlainHttp)
    assert CheckedProtocol._setup is HttpProtocol._setup
    assert isinstance(make_application(fast_path=True).router, LookUpRouter)
    assert type(make_application(fast_path=False).router) is Router

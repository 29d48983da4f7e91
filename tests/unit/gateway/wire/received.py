"""What a connection may bring, right and spoilt in every way, and a reader of ours without a network."""

from collections.abc import Awaitable
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from hypothesis import strategies as st
from sanic import Request
from sanic.exceptions import SanicException
from sanic.http.http1 import Http

from gateway.contract.bodies import BODY_BYTES_MAX
from gateway.wire.admission import Admission
from wallet.errors import WalletError

HEADER_BYTES_MAX = 8192


class Message(NamedTuple):
    """A request, as it was understood."""

    method: str
    target: str
    fields: tuple[tuple[str, str], ...]
    body: bytes


class MoreIsAwaited(Exception):
    """The request is not all there yet."""


def connection(kind: type[Http], *parts: bytes, keep_alive: bool) -> Any:
    """Return a reader to which these bytes come, part by part."""
    coming = iter(parts)

    async def receive_more() -> None:
        for part in coming:
            protocol.recv_buffer.extend(part)
            return
        raise MoreIsAwaited

    async def nothing(*_: Any, **__: Any) -> None:
        pass

    admission = Admission({"a"})
    admission.known_hosts.add("a")
    ctx = SimpleNamespace(admission=admission)
    app = SimpleNamespace(config=SimpleNamespace(KEEP_ALIVE=keep_alive), ctx=ctx, dispatch=nothing)
    protocol = SimpleNamespace(
        send=nothing,
        receive_more=receive_more,
        require_room=lambda: None,
        wrote=lambda length: None,
        recv_buffer=bytearray(next(coming, b"")),
        app=app,
        conn_info=SimpleNamespace(sockname=None),
        request_class=Request,
        request_max_size=BODY_BYTES_MAX,
        state={"requests_count": 0},
        transport=None,
        _time=0.0,
    )
    http: Any = kind(protocol)
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
        message = read_one(http)
    except (WalletError, SanicException, MoreIsAwaited) as error:
        return type(error), str(error), bytes(http.recv_buffer)
    request = http.request
    assert request.stream is http
    return (
        (*message, request.version),
        (http.url, http.keep_alive, http.head_only, http.upgrade_websocket, http.expecting_continue),
        (http.request_body, http.request_bytes_left, http.protocol.state, bytes(http.recv_buffer)),
    )


def read_one(http: Any) -> Message:
    """Return the next request, all of it."""
    at_once(http.http1_request_header())
    body = http.request.body
    while http.request_body:
        body += at_once(http.read()) or b""
    request = http.request
    fields = tuple((name.lower(), value.strip().lower()) for name, value in request.headers.items())
    return Message(request.method, request.raw_url.decode(), fields, body)


def read_all(kind: type[Http], *parts: bytes) -> list[Message]:
    """Return all requests that are taken from what a connection brings, until one is refused or incomplete."""
    http = connection(kind, *parts, keep_alive=True)
    messages: list[Message] = []
    try:
        while http.keep_alive:
            http.init_for_request()
            messages.append(read_one(http))
    except (WalletError, SanicException, MoreIsAwaited):
        pass
    return messages


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
    + [
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1",
        b"GET //a HTTP/1.1",
        b"GET /a#b HTTP/1.1",
        b"GET /\\a HTTP/1.1",
    ]
    + [b"GET http://a/x HTTP/1.1", b"GET http://b/x HTTP/1.1", b"CONNECT /x HTTP/1.1", b"GET /\x0b HTTP/1.1"]
    + [b"\r\nGET /x HTTP/1.1", b"\nGET /x HTTP/1.1", b"\r\n\r\nPOST /x HTTP/1.1"]
)
USUAL = st.sampled_from([b"Content-Type: application/json", b"Idempotency-Key: k", b"X: 1", b"x:2"])
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
        b"Connection: Upgrade",
        b"Connection: close, x",
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
        b"Host: a",
        b"Host: b",
        b"X Y: 1",
        b"X\x00: 1",
        b"X: \x0b1",
        b"X: \x7f",
        b"X:\t1\t",
        b"X: \xc2\xa01",
        b"Transfer-Encoding: Chunked",
        b"transfer-encoding:\tchunked ",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: identity",
        b"Content-Length:\t5\t",
        b"Content-Length: 5, 5",
        b"Content-Length: \xd9\xa5",
        b"Content-Length: 0x5",
        b"Content-Type: text/plain",
        b"Authorization: Bearer 1",
        b"Authorization: Bearer 2",
    ]
)
BODIES = st.sampled_from(
    [b"", b"hello", b"hello world", b"hell", b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"x" * 70_000]
)
RESTS = st.sampled_from([b"", b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n", b"GET / HTTP/1.1\r\n\r\n"])

SIZES = st.sampled_from(
    [b"5"] * 12
    + [
        b"05",
        b"0" * 15 + b"5",
        b"0" * 17 + b"5",
        b"5 ",
        b" 5",
        b"+5",
        b"-5",
        b"0x5",
        b"5_",
        b"\xd9\xa5",
        b"g",
    ]
    + [
        b"",
        b"F" * 16,
        b"F" * 17,
        b"5;a",
        b"5;a=b",
        b'5;a="b;c"',
        b'5;a="\\""',
        b"5; a",
        b"5;a ;b",
        b"5;a=\n",
        b"5;\n5",
    ]
    + [b"5;a\x00", b"5;" + b"a" * 300, b"5\t", b"5\x0b", b"5;", b"5;a=", b"5;=b"]
)
LINE_ENDS = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"", b"\r\r\n", b"\n\r"])
TRAILERS = st.sampled_from(
    [b""] * 6
    + [
        b"X: 1\r\n",
        b"X: 1\r\ny:2\r\n",
        b"X : 1\r\n",
        b" x\r\n",
        b"x\r\n",
        b"X: \x00\r\n",
        b"X: 1\n",
        b"X: " + b"x" * 9000,
    ]
    + [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n"]
)


@st.composite
def chunked_bodies(draw: st.DrawFn) -> bytes:
    """A body in chunks, most of them right."""
    body = b""
    for _ in range(draw(st.integers(0, 3))):
        body += draw(SIZES) + draw(LINE_ENDS) + b"hello" + draw(LINE_ENDS)
    return (
        body
        + draw(st.sampled_from([b"0"] * 8 + [b"00", b"0;a=b", b"-0"]))
        + draw(LINE_ENDS)
        + draw(TRAILERS)
        + draw(LINE_ENDS)
    )


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request that is plain, or is spoilt in one or two ways."""
    headers = [] if draw(st.integers(0, 19)) == 0 else [b"Host: a"]
    headers += draw(st.lists(USUAL, max_size=4))
    framing = draw(st.sampled_from(["none", "length", "chunks"]))
    body = draw(chunked_bodies() if framing == "chunks" else BODIES)
    if framing == "length":
        headers.append(b"Content-Length: %d" % len(body))
    elif framing == "chunks":
        headers.append(draw(st.sampled_from([b"Transfer-Encoding: chunked", b"transfer-encoding: CHUNKED"])))
    for unusual in draw(st.lists(UNUSUAL, max_size=2)):
        headers.insert(draw(st.integers(0, len(headers))), unusual)
    received = b"\r\n".join([draw(FIRST_LINES), *headers, b"", body]) + draw(RESTS)
    if draw(st.integers(0, 4)) == 0:  # cut off
        received = received[: draw(st.integers(0, min(len(received), 200)))]
    if received and draw(st.integers(0, 4)) == 0:  # a byte changed
        position = draw(st.integers(0, min(len(received), 200) - 1))
        received = received[:position] + draw(st.binary(max_size=2)) + received[position + 1 :]
    return received


@st.composite
def parts_of_requests(draw: st.DrawFn) -> list[bytes]:
    """Some requests, cut anywhere."""
    data = b"".join(draw(st.lists(requests(), min_size=1, max_size=2)))
    if draw(st.booleans()) and len(data) < 1_000:
        return [data[n : n + 1] for n in range(len(data))]
    cuts = sorted(draw(st.sets(st.integers(0, min(len(data), 1_000)), max_size=8)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]

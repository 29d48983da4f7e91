"""The fast path reads what the other way reads, and both what Sanic reads; but not all that Sanic takes is taken."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sanic.http.constants import Stage
from sanic.http.http1 import Http
from sanic.router import Router

from gateway.wire.admission import Admission
from gateway.wire.application import make_application
from gateway.wire.checked_http import CheckedHttp
from gateway.wire.connection import CheckedProtocol
from gateway.wire.connection_limits import ConnectionLimits, TrustedProxies
from gateway.wire.memory import MemoryBudget
from gateway.wire.protocol import PlainHttp, PlainProtocol, protocol_class
from gateway.wire.router import LookUpRouter
from tests.unit.gateway.wire import received


@pytest.fixture(autouse=True)
def _limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Http, "HEADER_MAX_SIZE", received.HEADER_BYTES_MAX)


@settings(max_examples=1_500)
@given(received.requests(), st.booleans())
def test_both_ways_end_the_same(data: bytes, keep_alive: bool) -> None:
    """Goal: a request, spoilt in any way, is understood or refused alike, whether it takes the fast path or not."""
    fast, slow = (received.connection(kind, data, keep_alive=keep_alive) for kind in (PlainHttp, CheckedHttp))
    assert received.read(fast) == received.read(slow)


@settings(max_examples=1_500)
@given(received.parts_of_requests())
def test_however_it_arrives(parts: list[bytes]) -> None:
    """Goal: how the network cuts the bytes decides nothing."""
    for kind in (PlainHttp, CheckedHttp):
        assert received.read_all(kind, *parts) == received.read_all(kind, b"".join(parts))


@settings(max_examples=1_500)
@given(received.requests())
def test_reads_what_sanic_reads(data: bytes) -> None:
    """Goal: Sanic's own reader understands each accepted request in the same way, if it can read it at all."""
    theirs, ours = (received.connection(kind, data, keep_alive=True) for kind in (Http, PlainHttp))
    understood = received.read(ours)
    if ours.request is None or ours.chunks or data.startswith(b"\r\n") or isinstance(understood[0], type):
        return
    message, _, (*_, rest) = received.read(theirs)
    assert (message, rest) == (understood[0], understood[2][-1])


@pytest.mark.parametrize(
    "data",
    [
        b"GET /balance/42 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /balance/42 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\nGET /next",
        b"POST /charge HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /charge HTTP/1.1\r\nHost: a\r\nContent-Length: 65536\r\n\r\n" + b" " * 65536,
    ],
)
def test_plain_requests_take_the_fast_path(data: bytes) -> None:
    """Goal: the requests that nearly every client sends don't go Sanic's way."""
    assert received.connection(PlainHttp, data, keep_alive=True)._read_plain()


@pytest.mark.parametrize(
    "data",
    [
        b"GET /balance/42 HTTP/1.0\r\nHost: a\r\n\r\n",
        b"GET /balance/42 HTTP/1.1\r\n\r\n",
        b"GET /balance/42 HTTP/1.1\r\nHost: b\r\n\r\n",
        b"GET /balance/42 HTTP/1.1\r\nHost: a\r\nX: 1\r\nX: 2\r\n\r\n",
        b"GET /balance/42 HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\n\r\n",
        b"PUT /balance/42 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET //balance HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /balance/42 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"POST /charge HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /charge HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /charge HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n{}",
        b"POST /charge HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{",
        b"POST /charge HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n" + b" " * 65537,
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
    ],
)
def test_others_are_left_to_sanic(data: bytes) -> None:
    """Goal: a request that is not plain is left untouched, byte for byte."""
    http = received.connection(PlainHttp, data, keep_alive=True)
    assert not http._read_plain()
    assert bytes(http.recv_buffer) == data


def test_the_fast_path_can_be_switched_off() -> None:
    """Goal: if Sanic's insides change, the service runs without the code that knows them."""
    assert protocol_class(fast_path=True) is PlainProtocol
    assert protocol_class(fast_path=False) is CheckedProtocol
    assert not issubclass(CheckedProtocol.HTTP_CLASS, PlainHttp)
    assert not issubclass(CheckedProtocol, PlainProtocol)
    limits = Admission(()), ConnectionLimits(1, 1, TrustedProxies()), MemoryBudget(1)
    assert isinstance(make_application(*limits, fast_path=True).router, LookUpRouter)
    assert type(make_application(*limits, fast_path=False).router) is Router


@pytest.mark.parametrize("kind", [CheckedHttp, PlainHttp])
async def test_empty_lines_extend_nothing(kind: type[CheckedHttp]) -> None:
    """Goal: a client that drips empty lines before a request is idle all the time, since the first of them."""
    http = received.connection(kind, b"\r\n", keep_alive=True)
    protocol, coming = http.protocol, [b"\r\n", b"\r", b"\n\r\n", b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"]
    idle_since = []

    async def receive_more() -> None:
        idle_since.append((http.stage, protocol._time))
        protocol.recv_buffer.extend(coming.pop(0))
        protocol._time += 3.0

    protocol.receive_more = http._receive_more = receive_more
    await http.http1_request_header()
    assert http.request.path == "/x"
    assert idle_since == [(Stage.IDLE, 0.0)] * 4

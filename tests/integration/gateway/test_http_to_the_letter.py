"""What HTTP allows is served, what can't be served is refused before anything is sent for it, and in silence."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.api_keys import create_key
from tests.integration.gateway.conftest import Api, Gateway, StartGateway, raw_request
from tests.tcp import connected
from wallet.scopes import Scope

TIMEOUT_S = 60
JSON = b"content-type: application/json\r\n"


@pytest.fixture(scope="module", params=["1", "0"], ids=["fast-path", "sanics-way"])
def fast_path(request: pytest.FixtureRequest) -> str:
    """Both ways through Sanic end the same."""
    value: str = request.param
    return value


def post(body: bytes, *, path: bytes = b"/charge", more: bytes = JSON) -> bytes:
    """A request with a body."""
    head = b"POST %b HTTP/1.1\r\nhost: localhost\r\n%bcontent-length: %d\r\n\r\n"
    return head % (path, more, len(body)) + body


GETS = (
    b"/health/live",
    b"/balance/nobody",
    b"/transactions/nobody",
    b"/docs",
    b"/nothing",
    b"/withdrawals/x",
)


@pytest.mark.parametrize("path", GETS)
async def test_a_client_that_ends_its_side_gets_its_answer(shared_api: Api, path: bytes) -> None:
    """Goal: nc -N, some proxies and scripts end their side after the request; they wait for the answer."""
    async with connected(shared_api.url) as (reader, writer):
        writer.write(b"GET %b HTTP/1.1\r\nhost: localhost\r\n\r\n" % path)
        writer.write_eof()
        assert (await reader.read()).startswith(b"HTTP/1.1 ")


async def test_a_charge_of_a_client_that_ends_its_side(shared_api: Api) -> None:
    """Goal: every booked request is answered: several requests at once, whole or in chunks."""
    orders = [
        json.dumps({"user_id": "half", "amount": 1, "idempotency_key": f"half-{n}"}).encode()
        for n in range(20)
    ]
    async with connected(shared_api.url) as (reader, writer):
        writer.write(b"".join(post(order) for order in orders))
        writer.write_eof()
        assert (await reader.read()).count(b"HTTP/1.1 200 ") == 20
    balance = await shared_api.balance("half")
    assert balance["total"] in (20, 40)  # both ways share the books


@pytest.mark.parametrize(
    "data",
    [
        b"GET /health/live HTT",
        post(b"{}")[:-1],
        b"POST /charge HTTP/1.1\r\nhost: localhost\r\n" + JSON + b"transfer-encoding: chunked\r\n\r\n5\r\nhe",
    ],
)
async def test_a_request_that_ends_early(shared_api: Api, shared_gateway: Gateway, data: bytes) -> None:
    """Goal: a client that ends its side within a request gets an answer that says so."""
    async with connected(shared_api.url) as (reader, writer):
        writer.write(data)
        writer.write_eof()
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    assert not shared_gateway.events("request_failed")


TARGETS = (
    b"x:80",
    b"http:/" + b"/[::1/",
    b"http://",
    b"//",
    b"http://x:99999/",
    b"?a",
    b"*",
    b"http://a b/",
    b"http:/x",
    b"a",
    b"/\\x",
    b"http://x:80x/",
    b"ftp://",
    b"",
    b"/a#b",
    b"/\xff",
    b"/\x00",
    b"/a\tb",
    b"/%",
    b"/balance/%zz",
    b"/balance/100%?currency=USD",
    b"/charges?user_id=a%2",
    b"http://evil.example/",
)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("method", [b"GET", b"CONNECT"])
async def test_targets_that_are_no_paths(
    shared_api: Api, shared_gateway: Gateway, method: bytes, target: bytes
) -> None:
    """Goal: each gets a 400 that is a problem, and no line in the log, because anybody may send them all day."""
    before = _size(shared_gateway.log)
    answer = await raw_request(shared_api, b"%b %b HTTP/1.1\r\nhost: localhost\r\n\r\n" % (method, target))
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert b'"code":"malformed_request"' in answer
    assert _size(shared_gateway.log) == before


def _size(file: Path) -> int:
    return file.stat().st_size


async def test_the_server_itself(shared_api: Api) -> None:
    """Goal: `OPTIONS *` asks about the server, not about a path; it is legal, and there is nothing to tell."""
    for more in (b"", b"Accept: \xc3\xa9\r\n"):
        answer = await raw_request(shared_api, b"OPTIONS * HTTP/1.1\r\nhost: localhost\r\n%b\r\n" % more)
        assert answer.startswith(b"HTTP/1.1 405 ")


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\nhost: localhost\n\n", b"\x16\x03\x01\x00\xa5\x01\x00", b"GET / HTTP/1.1\r\nx\0"],
)
async def test_what_can_become_no_request(shared_api: Api, data: bytes) -> None:
    """Goal: line feeds alone, TLS, and the like are refused at once, not when the time is up."""
    assert (await raw_request(shared_api, data)).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b"CHUNKED ", b" chunked"])
@pytest.mark.parametrize("end", [b"0\r\n\r\n", b"0;last\r\nX-Sum: 1\r\ny: 2\r\n\r\n"])
async def test_chunks_and_trailers(shared_api: Api, coding: bytes, end: bytes) -> None:
    """Goal: each spelling of chunks is a body, trailers are no request, and the connection lives on."""
    head = b"\r\nPOST /charge HTTP/1.1\r\nhost: localhost\r\n%btransfer-encoding: %b\r\n\r\n" % (JSON, coding)
    last = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    data = 2 * (head + b'2;a="b"\r\n{}\r\n' + end) + b"\r\n\r\n" + last
    answer = await raw_request(shared_api, data, close=False)
    assert answer.count(b"HTTP/1.1 422 ") == 2
    assert answer.count(b"HTTP/1.1 ") == 3


WAIT = b"expect: 100-continue\r\n"
REFUSED_BEFORE: list[tuple[bytes, int]] = [
    (b"POST /charge HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n", 415),
    (b"POST /charge HTTP/1.1\r\nhost: localhost\r\n" + JSON + WAIT + b"content-length: 65537\r\n\r\n", 413),
    (
        b"POST /charges HTTP/1.1\r\nhost: localhost\r\n" + JSON + WAIT + b"content-length: 1048577\r\n\r\n",
        413,
    ),
    (b"POST /nope HTTP/1.1\r\nhost: localhost\r\n" + JSON + WAIT + b"content-length: 2\r\n\r\n", 404),
    (b"PUT /charge HTTP/1.1\r\nhost: localhost\r\n" + JSON + WAIT + b"content-length: 2\r\n\r\n", 405),
    (b"POST /charge HTTP/1.1\r\nhost: x.example\r\n" + JSON + WAIT + b"content-length: 2\r\n\r\n", 421),
    (
        b"POST /charge HTTP/1.1\r\nhost: localhost\r\norigin: null\r\n"
        + JSON
        + WAIT
        + b"content-length: 2\r\n\r\n",
        403,
    ),
    (b"POST /charge HTTP/1.1\r\nhost: localhost\r\n" + JSON + b"expect: x\r\ncontent-length: 2\r\n\r\n", 417),
    (b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nexpect: x\r\n\r\n", 417),
]


@pytest.mark.parametrize(("head", "status"), REFUSED_BEFORE)
async def test_nothing_is_sent_for_what_is_refused(shared_api: Api, head: bytes, status: int) -> None:
    """Goal: a client that asks first is told no, without `100 Continue`, and the connection ends."""
    async with connected(shared_api.url) as (reader, writer):
        writer.write(head)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 %d " % status), answer
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"connection: close\r\n" in answer


async def test_nor_without_a_key(start_gateway: StartGateway, database_url: str, fast_path: str) -> None:
    """Goal: a caller without a key, or with one that may only read, can send no body, not even in chunks."""
    eye = await create_key(database_url, "eye", Scope.READ)
    gateway = await start_gateway(WBS_AUTH="on", WBS_FAST_PATH=fast_path)
    for key, status in ((b"", 401), (b"authorization: Bearer %b\r\n" % eye.encode(), 403)):
        for framing in (b"content-length: 2\r\n", b"transfer-encoding: chunked\r\n"):
            head = b"POST /charge HTTP/1.1\r\nhost: localhost\r\n" + JSON + WAIT + key + framing + b"\r\n"
            async with connected(gateway.url) as (reader, writer):
                writer.write(head)
                answer = await reader.read()
                assert answer.startswith(b"HTTP/1.1 %d " % status), answer
                assert answer.count(b"HTTP/1.1 ") == 1


async def test_tiny_chunks_end_early(
    shared_api: Api, shared_gateway: Gateway, cpu_s: Callable[[int], float]
) -> None:
    """Goal: a body of one-byte chunks is refused when their overhead is too large, and costs next to nothing."""
    before = cpu_s(shared_gateway.pid)
    head = b"POST /charges HTTP/1.1\r\nhost: localhost\r\n" + JSON + b"transfer-encoding: chunked\r\n\r\n"
    async with connected(shared_api.url) as (reader, writer):
        writer.write(head + b"1\r\n \r\n" * 1_000_000 + b"0\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 413 ")
    assert cpu_s(shared_gateway.pid) - before < 3  # it was 10 and more


@pytest.fixture
def cpu_s() -> Callable[[int], float]:
    """Return how long a process has been computing."""

    def seconds(pid: int) -> float:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    return seconds


async def test_what_is_too_long_is_told_to_a_client_that_sends_on(shared_api: Api) -> None:
    """Goal: a client that sends everything before it reads gets the answer, not a reset: by length, chunks, heads."""
    many = b"x" * 4_000_000
    for head in (
        b"POST /charge HTTP/1.1\r\nhost: localhost\r\n" + JSON + b"content-length: %d\r\n\r\n" % len(many),
        b"POST /charge HTTP/1.1\r\nhost: localhost\r\n"
        + JSON
        + b"transfer-encoding: chunked\r\n\r\n%x\r\n" % len(many),
        b"POST /charge HTTP/1.1\r\nhost: localhost\r\n" + JSON + b"x: ",
    ):
        async with connected(shared_api.url) as (reader, writer):
            writer.write(head)
            for start in range(0, len(many), 100_000):
                writer.write(many[start : start + 100_000])
                await writer.drain()
            assert (await reader.read(13)) == b"HTTP/1.1 413 "


async def test_the_date(shared_api: Api) -> None:
    """Goal: each response says when it was made (RFC 9110, 6.6.1), in the one format that there is."""
    for path in ("/health/live", "/nope"):
        date = (await shared_api.get(path)).headers["date"]
        assert len(date) == len("Fri, 27 Nov 2026 17:00:00 GMT")
        assert date.endswith(" GMT")

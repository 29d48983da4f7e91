"""Improper HTTP requests: each gets its code, changes nothing, and breaks nothing."""

import io
import json
from typing import Any

import pytest

from tests.integration.gateway.conftest import Api, Gateway, new_key, raw_request
from tests.tcp import connected

JSON = {"content-type": "application/json"}
CHUNKED = (
    b"POST /charge HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
CHARGE = {"user_id": 42, "amount": 100, "idempotency_key": "http"}

pytestmark = pytest.mark.usefixtures("nothing_moves")


@pytest.fixture(scope="module", params=["1", "0"], ids=["fast-path", "sanics-way"])
def fast_path(request: pytest.FixtureRequest) -> str:
    """Both ways through Sanic end the same."""
    value: str = request.param
    return value


@pytest.mark.parametrize("path", ["/charge", "/withdraw", "/charges"])
@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"", JSON, 400, "malformed_json"),
        (b"{", JSON, 400, "malformed_json"),
        (b"\xff", JSON, 400, "malformed_json"),
        (b"[" * 60_000, JSON, 400, "malformed_json"),
        (b'"x"', JSON, 422, "validation_failed"),
        (b"{}", {"content-type": "text/plain"}, 415, "unsupported_media_type"),
        (b"{}", {"content-type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
        (b"{}", {"content-type": "application/problem+json"}, 415, "unsupported_media_type"),
        (b"{}", {"content-type": ""}, 415, "unsupported_media_type"),
        (b" " * (1024 * 1024 + 1), JSON, 413, "payload_too_large"),
        (b" " * (3 * 1024 * 1024), JSON, 413, "payload_too_large"),
    ],
)
async def test_bad_bodies(
    shared_api: Api, path: str, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    """Goal: each kind of bad body gets its code."""
    reply = await shared_api.call("POST", path, data=io.BytesIO(body), headers=headers)
    assert (reply.status, reply.code) == (status, code)


@pytest.mark.parametrize("path", ["/charge", "/withdraw"])
async def test_limit_of_a_single_request(shared_api: Api, path: str) -> None:
    """Goal: 64 KB are read, a byte more is refused on a connection that lives on."""
    padding = b" " * (64 * 1024 - 2)
    assert (await shared_api.call("POST", path, data=b"{" + padding + b"}", headers=JSON)).status == 422
    reply = await shared_api.call("POST", path, data=b"{" + padding + b" }", headers=JSON)
    assert (reply.status, reply.code) == (413, "payload_too_large")


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8"])
async def test_content_types_that_are_json(shared_api: Api, content_type: str) -> None:
    """Goal: JSON is taken in each of its spellings."""
    body = json.dumps({**CHARGE, "amount": 0}).encode()
    sent = await shared_api.call("POST", "/charge", data=body, headers={"content-type": content_type})
    assert sent.bad_fields == {"amount"}


@pytest.mark.parametrize(
    "path", ["/nope", "/charge/x", "/withdrawals/a/b", "/docs/../app.py", "/docs/app.py", "/%ff"]
)
async def test_nothing_there(shared_api: Api, path: str) -> None:
    """Goal: an unknown path gets a problem that says so."""
    reply = await shared_api.call("GET", path)
    assert reply.status == 404
    assert reply.code in ("not_found", "withdrawal_not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/charge", {"POST"}),
        ("PUT", "/charge", {"POST"}),
        ("DELETE", "/withdraw", {"POST"}),
        ("POST", "/balance/42", {"GET", "HEAD"}),
        ("PATCH", "/transactions", {"GET", "HEAD"}),
        ("POST", "/health", {"GET", "HEAD"}),
        ("GET", "/withdrawals/x/cancel", {"POST"}),
    ],
)
async def test_wrong_method(shared_api: Api, method: str, path: str, allowed: set[str]) -> None:
    """Goal: the answer says what would be allowed."""
    reply = await shared_api.call(method, path)
    assert (reply.status, reply.code) == (405, "method_not_allowed")
    assert set(reply.headers["allow"].split(", ")) == allowed


async def test_head(shared_api: Api) -> None:
    """Goal: HEAD gets the head that GET would get, and no body."""
    got, head = await shared_api.get("/balance/42"), await shared_api.call("HEAD", "/balance/42")
    assert head.status == 200
    assert head.body == b""
    assert head.headers["content-length"] == str(len(got.body))


async def test_noop_is_for_benchmarks(shared_api: Api) -> None:
    """Goal: the benchmark's yardstick is not there in ordinary life."""
    assert (await shared_api.post("/noop", CHARGE)).status == 404


async def test_request_id(shared_api: Api) -> None:
    """Goal: a readable id of the client's comes back, also with errors; any other is replaced."""
    for path, status in (("/health/live", 200), ("/nope", 404), ("/balance/%20", 422)):
        reply = await shared_api.with_headers(x_request_id="order 7/é".replace("é", "e")).get(path)
        assert (reply.status, reply.headers["x-request-id"]) == (status, "order 7/e")
    ids = {(await shared_api.get("/health/live")).headers["x-request-id"] for _ in range(20)}
    assert len(ids) == 20
    too_long = await shared_api.with_headers(x_request_id="x" * 129).get("/health/live")
    assert len(too_long.headers["x-request-id"]) < 100
    raw = await raw_request(
        shared_api, b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nx-request-id: \xff\xfe\r\n\r\n"
    )
    assert raw.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"POST /charge HTTP/1.1\r\nhost: localhost\r\ncontent-length: x\r\n\r\n",
        b"POST /charge HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"POST /charge HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
async def test_broken_http(shared_api: Api, shared_gateway: Gateway, data: bytes) -> None:
    """Goal: bytes that are no HTTP get a 400 as a problem, the connection ends, and the gateway lives on."""
    answer = await raw_request(shared_api, data)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 "), answer
    assert b"application/problem+json" in head
    assert json.loads(body)["code"] == "malformed_request"
    assert (await shared_api.get("/health/live")).status == 200
    assert not shared_gateway.events("request_failed")


async def test_header_too_long(shared_api: Api) -> None:
    """Goal: a head without end is cut off."""
    answer = await raw_request(
        shared_api, b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 20_000 + b"\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 413 ")


def request(number: int, *extra: bytes, version: bytes = b"1.1") -> bytes:
    body = json.dumps({**CHARGE, "amount": 0, "metadata": {"n": number}}).encode()
    lines = [b"POST /charge HTTP/" + version, b"host: localhost", b"content-type: application/json"]
    lines += [b"content-length: %d" % len(body), *extra]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def test_pipelined(shared_api: Api) -> None:
    """Goal: requests that come in one go are answered one by one, in order."""
    data = b"".join(request(n, b"x-request-id: n%d" % n) for n in range(5))
    data += b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    answer = await raw_request(shared_api, data, close=False)
    places = [answer.index(b"x-request-id: n%d\r\n" % n) for n in range(5)]
    assert places == sorted(places)
    assert answer.count(b"HTTP/1.1 422 ") == 5
    assert answer.count(b"HTTP/1.1 200 ") == 1


@pytest.mark.parametrize(
    "header", [b"content-length : %d", b" content-length: %d", b"x: y\ncontent-length: %d"]
)
async def test_smuggled(shared_api: Api, header: bytes) -> None:
    """Goal: a header that a proxy may read otherwise ends the connection; what follows is no request of its own."""
    hidden = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"
    head = b"POST /charge HTTP/1.1\r\nhost: localhost\r\n" + header % len(hidden) + b"\r\n\r\n"
    answer = await raw_request(shared_api, head + hidden, close=False)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"malformed_request"' in answer
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_chunked(shared_api: Api) -> None:
    """Goal: a body in chunks is a body."""
    body = request(1).partition(b"\r\n\r\n")[2]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:10], body[10:]))
    answer = await raw_request(shared_api, CHUNKED + chunks + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 422 ")
    assert b'"field":"amount"' in answer


@pytest.mark.parametrize("keep", [True, False])
async def test_http_1_0(shared_api: Api, keep: bool) -> None:
    """Goal: HTTP/1.0 closes unless the client asked to keep the connection; then the answer says so."""
    extra = (b"connection: keep-alive",) if keep else ()
    data = request(1, *extra, version=b"1.0")
    if keep:
        data += b"GET /health/live HTTP/1.0\r\n\r\n"
    answer = await raw_request(shared_api, data, close=False)
    assert answer.count(b"HTTP/1.1 ") == (2 if keep else 1)
    assert (b"connection: keep-alive\r\n" in answer) is keep
    assert b"connection: close\r\n" in answer


async def test_expect_continue(shared_api: Api) -> None:
    """Goal: a client that waits for a word before it sends its body gets it, then the answer."""
    head, _, body = request(1, b"expect: 100-continue", b"connection: close").partition(b"\r\n\r\n")
    async with connected(shared_api.url) as (reader, writer):
        writer.write(head + b"\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await reader.read()).startswith(b"HTTP/1.1 422 ")


async def test_a_client_that_goes_away(shared_api: Api, shared_gateway: Gateway) -> None:
    """Goal: connections that end in the middle of a request harm no others and are logged as no error of ours."""
    for data in (b"", b"POST /ch", request(1)[:-5], b"GET /withdrawals/x HTTP/1.1\r\nhost: localhost\r\n"):
        async with connected(shared_api.url) as (_, writer):
            writer.write(data)
            await writer.drain()
            writer.transport.abort()
    assert (await shared_api.get("/health/live")).status == 200
    assert not shared_gateway.events("request_failed")


async def test_pages(shared_api: Api) -> None:
    """Goal: the documentation is there, with headers that keep it from loading anything from elsewhere."""
    root = await shared_api.get("/")
    assert (root.status, root.headers["location"]) == (302, "/docs")
    page = await shared_api.get("/docs")
    assert page.status == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert b"http://" not in page.body
    assert b"https://" not in page.body
    for name in ("swagger-ui.css", "swagger-ui-bundle.js", "docs.js", "docs.css", "favicon-32x32.png"):
        assert f"/docs/{name}".encode() in page.body
        assert (await shared_api.get(f"/docs/{name}")).status == 200
    assert (await shared_api.get("/openapi.json")).json["openapi"] == "3.1.0"


async def test_problem_types_lead_somewhere(shared_api: Api) -> None:
    """Goal: a problem's type is a path that explains it."""
    problem = (await shared_api.withdraw("nobody", 1, idempotency_key=new_key())).json
    explained = await shared_api.get(problem["type"])
    assert explained.status == 200
    assert b"insufficient_funds" in explained.body
    assert (await shared_api.get("/problems/unheard_of")).code == "not_found"


async def test_metrics(shared_api: Api) -> None:
    """Goal: answers are counted by route, method and status, refusals by code; unknown paths not at all."""

    async def count(line: str) -> float:
        lines = (await shared_api.get("/metrics")).body.decode().splitlines()
        values = [one.rpartition(" ")[2] for one in lines if one.startswith(line)]
        return float(values[0]) if values else 0.0

    lines: dict[str, Any] = {
        'wbs_http_requests_total{method="GET",route="/balance/{user_id}",status="200"}': 3,
        'wbs_http_requests_total{method="any",route="unrouted",status="404"}': 2,
        'wbs_http_request_seconds_count{route="/balance/{user_id}"}': 3,
        'wbs_refusals_total{code="not_found"}': 2,
    }
    before = {line: await count(line) for line in lines}
    for _ in range(3):
        await shared_api.get("/balance/42")
    for number in range(2):
        await shared_api.get(f"/unheard-of/{number}")
    assert {line: await count(line) - before[line] for line in lines} == lines
    assert b"unheard-of" not in (await shared_api.get("/metrics")).body

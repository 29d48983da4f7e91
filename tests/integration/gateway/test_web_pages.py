"""What a browser can be made to send by pages of other sites, to every endpoint, by every method: none of it works."""

import itertools
import json
import re
from typing import Any

import pytest

from gateway.app import create_app
from runtime.settings import Settings
from tests.integration.gateway.conftest import Api, Gateway, Reply, StartGateway, raw_request

pytestmark = pytest.mark.usefixtures("nothing_moves")

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE")
UNSAFE = METHODS[3:]
PROTECTION = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
}
FOREIGN = [
    {"origin": "https://evil.example"},
    {"origin": "http://localhost:1"},
    {"origin": "null"},
    {"origin": ""},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "https://evil.example", "sec-fetch-site": "none"},
    {"sec-fetch-site": "cross-site", "content-type": "application/json"},
]


def served() -> list[tuple[str, frozenset[str]]]:
    """Return all paths that the gateway serves, as registered, with their methods; and one that it does not."""
    app = create_app(Settings.from_env({"DATABASE_URL": "postgresql://127.0.0.1/none"}))
    app.router.finalize()
    found = [
        (re.sub("<[^>]*>", "x", f"/{route.path}"), frozenset(route.methods)) for route in app.router.routes
    ]
    assert len(found) > 15
    return [*found, ("/nothing-there", frozenset())]


SERVED = served()
PATHS = sorted({path for path, _ in SERVED})


@pytest.fixture(scope="module", params=["1", "0"], ids=["fast-path", "sanics-way"])
def fast_path(request: pytest.FixtureRequest) -> str:
    """Both ways through Sanic end the same."""
    value: str = request.param
    return value


def check_protected(reply: Reply) -> None:
    """Assert that no cache may keep the response, and no page of another site may show or read it."""
    for name, value in PROTECTION.items():
        assert reply.headers.getall(name) == [value], (name, reply)
    [policy] = reply.headers.getall("content-security-policy")
    assert "frame-ancestors 'none'" in policy
    assert reply.headers.getall("date")
    assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize("path", PATHS)
async def test_every_response_is_protected(shared_api: Api, path: str) -> None:
    """Goal: whatever the answer is, it is not kept, not shown in a frame, and not read by others."""
    for method in METHODS:
        check_protected(await shared_api.call(method, path))


@pytest.mark.parametrize("path", PATHS)
async def test_no_name_but_ours(shared_api: Api, path: str) -> None:
    """Goal: a page whose own name leads to us is served nothing, whatever it asks for."""
    for method in METHODS:
        for host in ("attacker.example", "127.0.0.1.attacker.example", "localhost.", "127.0.0.2", "[::2]:80"):
            reply = await shared_api.call(method, path, headers={"host": host})
            assert reply.status == 421, (method, host)
            assert method == "HEAD" or reply.code == "host_not_allowed"
            check_protected(reply)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:65535", "[::1]", "127.0.0.1"])
async def test_loopback_has_these_names(shared_api: Api, host: str) -> None:
    """Goal: with whatever port, since a tunnel or a container may have changed it."""
    assert (await shared_api.call("GET", "/health/live", headers={"host": host})).status == 200


@pytest.mark.parametrize("path", PATHS)
async def test_pages_of_other_sites_order_nothing(shared_api: Api, path: str) -> None:
    """Goal: no unsafe method works from another site, with or without a body."""
    body = json.dumps({"user_id": "victim", "amount": 1, "idempotency_key": "evil"}).encode()
    for method, headers in itertools.product(UNSAFE, FOREIGN):
        for sent in ({}, {"data": body}):
            reply = await shared_api.call(method, path, headers=headers, **sent)
            assert (reply.status, reply.code) == (403, "cross_site"), (method, headers)
            check_protected(reply)


@pytest.mark.parametrize("path", PATHS)
async def test_our_own_pages_may(shared_api: Api, path: str) -> None:
    """Goal: what the console and /docs send is served, also behind a proxy that ends TLS."""
    port = shared_api.url.rpartition(":")[2]
    for method in UNSAFE:
        for headers in (
            {"origin": f"http://127.0.0.1:{port}", "sec-fetch-site": "same-origin"},
            {"host": "localhost", "origin": "https://localhost"},
            {"sec-fetch-site": "none"},
        ):
            assert (await shared_api.call(method, path, headers=headers)).status != 403


WRITES = sorted((path, method) for path, methods in SERVED for method in methods & set(UNSAFE))


NOT_JSON = [
    None,
    "",
    "text/plain",
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded",
    "application/js",
    "application/json-seq",
    "application/problem+json",
    "application/json, text/plain",
]


@pytest.mark.parametrize(("path", "method"), WRITES)
async def test_a_body_says_that_it_is_json(shared_api: Api, path: str, method: str) -> None:
    """Goal: a body that a page may send without asking is refused by every endpoint, also where none is needed."""
    body = b'{"user_id":"victim","amount":1,"idempotency_key":"evil"}'
    for content_type, rest in itertools.product(NOT_JSON, (_with_length(body), _in_chunks(body))):
        line = b"" if content_type is None else b"content-type: %b\r\n" % content_type.encode()
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n".encode() + line
        answer = await raw_request(shared_api, head + rest)
        assert answer.startswith(b"HTTP/1.1 415 "), (content_type, answer)
        assert b'"code":"unsupported_media_type"' in answer


def _with_length(body: bytes) -> bytes:
    return b"content-length: %d\r\n\r\n%b" % (len(body), body)


def _in_chunks(body: bytes) -> bytes:
    return b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize("path", ["/charge", "/charges", "/withdrawals/x/cancel"])
async def test_a_body_that_is_compressed(shared_api: Api, path: str) -> None:
    """Goal: a body is taken as it is: what a proxy before us would decode first is refused, not read otherwise."""
    body = b'{"user_id":"a","amount":1,"idempotency_key":"k"}'
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n".encode()
    for coding, rest in itertools.product(
        (b"gzip", b"br, gzip", b"x", b"identity\r\ncontent-encoding: gzip"),
        (_with_length(body), _in_chunks(body)),
    ):
        answer = await raw_request(shared_api, head + b"content-encoding: %b\r\n%b" % (coding, rest))
        assert answer.startswith(b"HTTP/1.1 415 "), (coding, answer)
    answer = await raw_request(shared_api, head + b"content-encoding: Identity\r\n" + _with_length(b"{"))
    assert not answer.startswith(b"HTTP/1.1 415 ")


async def test_no_body_needs_no_type(shared_api: Api) -> None:
    """Goal: browsers say that a body has no bytes, where there is none; that is no body."""
    head = b"POST /withdrawals/x/cancel HTTP/1.1\r\nhost: localhost\r\n"
    for framing in (b"", b"content-length: 0\r\n", b"content-length: 0\r\norigin: http://localhost\r\n"):
        assert (await raw_request(shared_api, head + framing + b"\r\n")).startswith(b"HTTP/1.1 404 ")


async def test_ndjson_only_in_bulk(shared_api: Api) -> None:
    """Goal: lines are taken where the contract says so, and nowhere else."""
    headers = {"content-type": "application/x-ndjson"}
    assert (await shared_api.call("POST", "/charges", data=b"{}", headers=headers)).status == 200
    for path in ("/charge", "/withdraw", "/bank/callbacks"):
        assert (await shared_api.call("POST", path, data=b"{}", headers=headers)).status == 415


REFUSED: list[tuple[bytes, int]] = [
    (b"nonsense\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET /x HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 20_000 + b"\r\n\r\n", 413),
    (
        b"POST /charge HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 99999\r\n\r\n",
        413,
    ),
    (b"POST /charge HTTP/1.1\r\nhost: localhost\r\nexpect: wonders\r\ncontent-length: 2\r\n\r\n{}", 417),
]


@pytest.mark.parametrize(("data", "status"), REFUSED)
async def test_refusals_are_protected(shared_api: Api, data: bytes, status: int) -> None:
    """Goal: a request refused before any endpoint sees it gets the same protective headers."""
    head = (await raw_request(shared_api, data)).partition(b"\r\n\r\n")[0].decode().lower()
    assert head.startswith(f"http/1.1 {status} ")
    for name, value in PROTECTION.items():
        assert f"\r\n{name}: {value.lower()}" in head
    assert "frame-ancestors 'none'" in head
    assert "\r\ndate: " in head


PREFLIGHT = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type,idempotency-key,authorization",
}


async def test_pages_of_others_ask_in_vain(shared_api: Api) -> None:
    """Goal: without WBS_CORS_ORIGINS, no page gets a permission."""
    for path in PATHS:
        for origin in ("https://evil.example", shared_api.url, "null"):
            reply = await shared_api.call("OPTIONS", path, headers={"origin": origin, **PREFLIGHT})
            assert reply.status in (404, 405)
            check_protected(reply)
            read = await shared_api.call("GET", path, headers={"origin": origin})
            assert "access-control-allow-origin" not in read.headers


async def test_pages_that_a_setting_names_may(
    start_gateway: StartGateway, fast_path: str, session: Any
) -> None:
    """Goal: such a page asks, is told what it may send, sends it, and reads the answer; all others are kept out."""
    pages = "https://pay.example,http://127.0.0.1:8282"
    gateway: Gateway = await start_gateway(WBS_CORS_ORIGINS=pages, WBS_FAST_PATH=fast_path)
    api = Api(gateway.url, session)
    for origin in pages.split(","):
        headers = {"origin": origin, "sec-fetch-site": "cross-site"}
        asked = await api.call("OPTIONS", "/charge", headers={**headers, **PREFLIGHT})
        assert asked.status == 204
        assert asked.headers["access-control-allow-methods"] == "POST"
        may_send = set(asked.headers["access-control-allow-headers"].split(", "))
        assert {
            "authorization",
            "content-type",
            "idempotency-key",
            "last-event-id",
            "traceparent",
        } <= may_send
        charged = await api.with_headers(**headers).charge("page", 5)
        read = await api.with_headers(**headers).get("/balance/page")
        refused = await api.with_headers(**headers).post("/charge", {})
        for reply in (asked, charged, read, refused):
            assert reply.headers["access-control-allow-origin"] == origin
            assert reply.headers["vary"] == "origin"
            assert reply.headers["cache-control"] == "no-store"
        assert (charged.status, read.status, refused.status) == (200, 200, 422)
        may_read = set(charged.headers["access-control-expose-headers"].split(", "))
        assert {"idempotent-replayed", "ratelimit", "ratelimit-policy", "retry-after"} <= may_read
    for origin in (
        "http://pay.example",
        "https://pay.example:444",
        "https://PAY.example",
        "https://evil.example",
    ):
        headers = {"origin": origin}
        assert (await api.call("OPTIONS", "/charge", headers={**headers, **PREFLIGHT})).status == 405
        reply = await api.with_headers(**headers).charge("page", 5)
        assert (reply.status, reply.code) == (403, "cross_site")
        assert "access-control-allow-origin" not in reply.headers
    assert (await api.balance("page"))["total"] == 10


async def test_names_that_a_setting_names(start_gateway: StartGateway, fast_path: str, session: Any) -> None:
    """Goal: behind a proxy the public name is served, once WBS_ALLOWED_HOSTS has it."""
    gateway = await start_gateway(WBS_ALLOWED_HOSTS="pay.example, proxy", WBS_FAST_PATH=fast_path)
    api = Api(gateway.url, session)
    for host, status in (
        ("pay.example", 200),
        ("Pay.Example:443", 200),
        ("proxy:8080", 200),
        ("localhost", 200),
        ("x.pay.example", 421),
        ("pay.example.evil.example", 421),
    ):
        for _ in range(2):  # the second time it is a spelling that is known
            assert (await api.call("GET", "/health/live", headers={"host": host})).status == status
    page = {"host": "pay.example", "origin": "https://pay.example", "sec-fetch-site": "same-origin"}
    assert (await api.call("POST", "/charge", headers=page, json={})).status == 422


async def test_the_address_that_was_called_is_ours(
    start_gateway: StartGateway, fast_path: str, session: Any
) -> None:
    """Goal: a gateway on all addresses is served under each of them, and not under those of others."""
    gateway = await start_gateway(WBS_HTTP_HOST="0.0.0.0", WBS_FAST_PATH=fast_path)
    api = Api(f"http://127.0.0.7:{gateway.port}", session)
    assert (await api.get("/health/live")).status == 200
    assert (await api.call("GET", "/health/live", headers={"host": "127.0.0.8"})).status == 421

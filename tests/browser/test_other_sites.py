"""Pages of other sites in a real Chromium: of another origin, of a name that leads to us, with us in a frame.

They move nothing and read nothing of a stack without logins, neither at the gateway nor at the bank. Ours work.
"""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from ops.local.stack import Stack
from tests.conftest import unavailable
from tests.service import make_whole

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PAGE_TIMEOUT_MS = 90_000
USER = "victim"

pytestmark = pytest.mark.browser

ORDERS = """async ([target, paths, body]) => {
  const seen = [];
  const bodies = [
    [new Blob([body]), {}],
    [body, {}],
    [new TextEncoder().encode(body), {}],
    [body, {"content-type": "application/json"}],
    [new URLSearchParams({x: body}), {}],
    [undefined, {}],
  ];
  for (const path of paths)
    for (const mode of ["no-cors", "cors"])
      for (const [sent, headers] of bodies)
        for (const method of ["POST", "PUT", "DELETE", "PATCH"])
          try {
            const reply = await fetch(target + path, {method, mode, headers, body: sent, keepalive: false});
            const text = await reply.text();
            seen.push([path, method, mode, reply.type, reply.status, text]);
          } catch (error) {
            seen.push([path, method, mode, "error", 0, String(error)]);
          }
  navigator.sendBeacon(target + paths[0], new Blob([body], {type: "text/plain"}));
  return seen;
}"""
"""Orders by all that `fetch` allows, and what the page got to see of it."""

READS = """async ([target, paths]) => {
  const seen = [];
  for (const path of paths)
    for (const mode of ["no-cors", "cors"])
      try {
        const reply = await fetch(target + path, {mode});
        seen.push([path, mode, reply.type, await reply.text()]);
      } catch (error) {
        seen.push([path, mode, "error", ""]);
      }
  return seen;
}"""

FORM = """async ([action, body]) => {
  const form = document.createElement("form");
  Object.assign(form, {method: "post", action, enctype: "text/plain", target: "out"});
  const input = document.createElement("input");
  const frame = document.createElement("iframe");
  frame.name = "out";
  const [name, value] = body.split("=");
  Object.assign(input, {name, value});
  form.append(input);
  document.body.append(frame, form);
  const loaded = new Promise((resolve) => { frame.onload = resolve; });
  form.submit();
  await loaded;
}"""
"""A form whose text/plain body is JSON: `{"x":"=", …}`."""

READ_PATHS = [f"/balance/{USER}", f"/transactions/{USER}", "/openapi.json", "/health", "/metrics", "/console"]
MOVE_PATHS = ["/withdraw", "/charge", "/charges"]
BANK_PATHS = ["/payouts", "/payouts/x/return", "/faults"]


class EmptyPage(BaseHTTPRequestHandler):
    """A web server of somebody else: any path is an empty page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>evil</title><body>")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def evil() -> Iterator[str]:
    """The address of that server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser(evil: str) -> Iterator[Browser]:
    """A Chromium to which `attacker.example` leads to loopback, as a name server of the attacker's would say.

    Port 8282, which another stack may have, leads to the empty pages.
    """
    rules = f"MAP attacker.example 127.0.0.1, MAP localhost:8282 {urlsplit(evil).netloc}"
    if CHROMIUM is None:
        unavailable("no Chromium here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--no-proxy-server",
                f"--host-resolver-rules={rules}, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page."""
    page = browser.new_page()
    page.set_default_timeout(PAGE_TIMEOUT_MS)
    yield page
    page.close()


@pytest.fixture
def whole(stack: Stack, page: Page) -> Stack:
    """A stack that works, with something to steal."""
    make_whole(stack)
    body = {"user_id": USER, "amount": 5000, "idempotency_key": "something to steal"}
    assert page.request.post(f"{stack.urls['api']}/charge", data=body).status == 200
    return stack


def state(stack: Stack, page: Page) -> Any:
    """Return all that a page could have moved or read: the wallet, the bank's books and its faults."""
    api, bank = stack.urls["api"], stack.urls["bank"]
    urls = (f"{api}/balance/{USER}", f"{api}/transactions/{USER}", f"{bank}/payouts", f"{bank}/faults")
    return [page.request.get(url).json() for url in urls]


def order() -> str:
    """A withdrawal that the wallet could pay."""
    return json.dumps({"user_id": USER, "amount": 4242, "idempotency_key": "evil", "destination": "ATTACKER"})


@pytest.mark.parametrize("start", ["other-port", "opaque"])
def test_pages_of_another_origin(whole: Stack, page: Page, evil: str, start: str) -> None:
    """Goal: a page of another site, or of no origin at all, changes nothing and reads nothing, whatever it sends."""
    before = state(whole, page)
    page.goto(evil if start == "other-port" else "data:text/html,<title>evil</title><body>")
    for target, paths in ((whole.urls["api"], MOVE_PATHS), (whole.urls["bank"], BANK_PATHS)):
        for path, method, mode, kind, _, text in page.evaluate(ORDERS, [target, paths, order()]):
            assert kind in ("opaque", "error"), (path, method, mode, text)
        for path, mode, kind, text in page.evaluate(READS, [target, [*READ_PATHS, *BANK_PATHS]]):
            assert kind == "error" or (kind == "opaque" and text == ""), (path, mode, text)
    page.evaluate(FORM, [f"{whole.urls['api']}/withdraw", '{"x":"=","user_id":"victim","amount":1}'])
    assert state(whole, page) == before


def test_pages_of_a_name_that_leads_to_us(whole: Stack, page: Page) -> None:
    """Goal: DNS rebinding makes a page of the attacker's our neighbour; it is served, told and allowed nothing."""
    before = state(whole, page)
    for url, paths in ((whole.urls["api"], MOVE_PATHS), (whole.urls["bank"], BANK_PATHS)):
        origin = f"http://attacker.example:{urlsplit(url).port}"
        answer = page.goto(f"{origin}/health")
        assert answer is not None
        assert answer.status == 421
        assert page.evaluate("location.origin") == origin
        for path, method, mode, kind, status, text in page.evaluate(ORDERS, [origin, paths, order()]):
            if "unsupported in no-cors mode" not in text:
                assert kind == "basic", (path, method, mode, text)
                assert status == 421, (path, method, text)
        for path, _, kind, text in page.evaluate(READS, [origin, [*READ_PATHS, *BANK_PATHS]]):
            assert kind == "basic", path
            assert json.loads(text)["code"] == "host_not_allowed"
    assert state(whole, page) == before


def test_pages_that_show_us_in_a_frame(whole: Stack, page: Page, evil: str) -> None:
    """Goal: nobody can be lured into clicking in a console underneath another page."""
    page.goto(evil)
    for url in (f"{whole.urls['api']}/console", f"{whole.urls['api']}/docs", f"{whole.urls['bank']}/faults"):
        page.evaluate(
            """(url) => new Promise((resolve) => {
              const frame = document.createElement("iframe");
              frame.onload = resolve;
              frame.src = url;
              document.body.append(frame);
            })""",
            url,
        )
        shown = page.frames[-1]
        assert not shown.url.startswith(url), "the browser shows an error page in its place"
        assert shown.locator("form, #swagger-ui, pre").count() == 0


def test_our_own_pages_work(whole: Stack, page: Page) -> None:
    """Goal: the console still charges, pays out and looks up, with all that a browser adds."""
    page.goto(f"{whole.urls['api']}/console")
    moved = page.evaluate(
        """async () => {
          const send = (path, body) => fetch(path, {
            method: "POST", body: body && JSON.stringify(body),
            headers: body ? {"content-type": "application/json"} : {},
          }).then(async (reply) => [reply.status, await reply.json()]);
          const [charged] = await send("charge", {user_id: "own", amount: 9, idempotency_key: "own-1"});
          const [taken, order] = await send("withdraw", {user_id: "own", amount: 4, idempotency_key: "own-2"});
          const [cancelled] = await send(`withdrawals/${order.withdrawal_id}/cancel`);
          return [charged, taken, cancelled];
        }"""
    )
    assert moved[:2] == [200, 202]
    assert moved[2] in (200, 409), "the bank may have been quicker"
    page.goto(f"{whole.urls['api']}/console/wallet?user_id=own")
    page.get_by_role("button", name="Charge …").click()
    page.get_by_label("Amount in USD").fill("77")
    page.get_by_role("button", name="Charge", exact=True).press("Enter")
    row = page.get_by_role("row").filter(has_text="charge").first
    expect(row).to_contain_text("77.00 USD", timeout=PAGE_TIMEOUT_MS)


def test_the_page_that_a_setting_names(whole: Stack, page: Page) -> None:
    """Goal: Swagger UI on port 8282 reads the document and charges: `wbs up` lets it in."""
    page.goto("http://localhost:8282/")
    seen = page.evaluate(
        """async (api) => {
          const document = await (await fetch(`${api}/openapi.json`)).json();
          const reply = await fetch(`${api}/charge`, {
            method: "POST",
            headers: {"content-type": "application/json", "idempotency-key": "from-8282", "x-request-id": "a"},
            body: JSON.stringify({user_id: "swagger", amount: 7}),
          });
          return [document.openapi, reply.status, reply.headers.get("x-request-id")];
        }""",
        whole.urls["api"],
    )
    assert seen == ["3.1.0", 200, "a"]

"""The console in a real Chromium: the drill at three in the morning, and whom it keeps out."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, ViewportSize, expect, sync_playwright

from ops.local.stack import Stack
from tests.browser.test_docs import CHROMIUM, PAGE_TIMEOUT_MS, Visit
from tests.conftest import unavailable
from tests.service import make_whole

pytestmark = pytest.mark.browser

PAGES = (
    "",
    "/withdrawals",
    "/withdrawals?status=open&order=oldest",
    "/dead-letters",
    "/wallet",
    "/bank",
    "/processes",
    "/webhooks",
    "/nothing-there",
)
RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "rules.yml"
PHONE, DESK = ViewportSize(width=390, height=844), ViewportSize(width=1280, height=800)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium that reaches loopback only."""
    if CHROMIUM is None:
        unavailable("no Chromium here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """A page, on a whole stack, after which the bank is healed."""
    make_whole(stack)
    page = browser.new_page(viewport=DESK)
    page.set_default_timeout(PAGE_TIMEOUT_MS)
    yield page
    page.request.delete(f"{stack.urls['bank']}/faults")
    page.close()


def send(page: Page, url: str, **body: Any) -> Any:
    """Order something at the API, as a client."""
    reply = page.request.post(url, data={"idempotency_key": uuid4().hex, **body})
    assert reply.status in (200, 202), reply.text()
    return reply.json()


def stuck_at_the_bank(page: Page, stack: Stack, number: int) -> list[str]:
    """Have the bank refuse all calls, and withdrawals require attention. Return their ids."""
    api, user = stack.urls["api"], f"drill-{uuid4().hex[:8]}"
    send(page, f"{api}/charge", user_id=user, amount=100_000)
    assert page.request.put(f"{stack.urls['bank']}/faults", data={"outage": True}).ok
    ids = [send(page, f"{api}/withdraw", user_id=user, amount=1_500)["withdrawal_id"] for _ in range(number)]
    give_up_at = time.monotonic() + 60
    while time.monotonic() < give_up_at:
        found = [page.request.get(f"{api}/withdrawals/{id}?wait=5").json()["status"] for id in ids]
        if set(found) == {"requires_attention"}:
            return ids
    raise AssertionError(f"they are {found}")


def address_in_the_alert(name: str) -> str:
    """Return where an alert sends the operator."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    [rule] = [rule for group in groups for rule in group["rules"] if rule.get("alert") == name]
    address: str = rule["annotations"]["console"]
    return address


def settled(page: Page) -> None:
    """Wait until the page shows what it is for."""
    page.locator("main h1").wait_for()
    expect(page.locator("[aria-busy]")).to_have_count(0)


def test_the_drill(page: Page, stack: Stack) -> None:
    """Goal: from the alert's link alone an operator sees what is stuck, why and how much, and mends it, in one page."""
    ids = stuck_at_the_bank(page, stack, 3)
    visit = Visit(page, stack.urls["api"])
    page.goto(stack.urls["api"] + address_in_the_alert("WithdrawalsRequireAttention"))
    page.evaluate("window.sameDocument = true")
    expect(page.get_by_role("row").filter(has_text=ids[0])).to_contain_text("15.00 USD")
    expect(page.locator("#live")).to_have_text("live")
    page.get_by_role("link", name="Why, and what mends them").click()
    reason = page.get_by_role("group", name="Why").get_by_role("row").filter(has_text="bank unavailable")
    expect(reason.first).to_contain_text("USD")
    page.get_by_role("link", name=ids[0]).click()
    timeline = page.get_by_role("list").filter(has_text="Round 1")
    expect(timeline).to_contain_text("bank unavailable http 503")
    expect(timeline).to_contain_text("retries used up")
    expect(page.get_by_role("heading", level=1)).to_contain_text("15.00 USD requires attention")
    page.get_by_role("link", name="Bank", exact=True).click()
    page.get_by_role("button", name="Heal the bank").click()
    expect(page.locator("main")).to_contain_text("healthy")
    page.get_by_role("link", name="Dead letters").click()
    for id in ids:
        page.get_by_label(f"Choose {id}").check()
    page.get_by_role("button", name="Replay the 3 chosen …").click()
    page.get_by_role("button", name="Replay", exact=True).click()
    expect(page.locator("#said")).to_contain_text("Replayed 3")
    page.get_by_label("Find a withdrawal or a user").fill(ids[1])
    page.keyboard.press("Enter")
    page.get_by_role("row").filter(has_text=ids[1]).get_by_role("link", name=ids[1]).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("completed", timeout=PAGE_TIMEOUT_MS)
    expect(page.locator("main")).to_contain_text("replayed by an operator")
    page.get_by_role("link", name="Now").click()
    did = page.get_by_role("group", name="What operators did").get_by_role("row").filter(has_text="replay")
    expect(did.first).to_contain_text("3")
    assert page.evaluate("window.sameDocument"), "the page was loaded anew"
    visit.check()


def test_nothing_keeps_people_out(browser: Browser, page: Page, stack: Stack) -> None:
    """Goal: axe finds nothing on any page, by light and by dark; no page is wider than a phone."""
    [id] = stuck_at_the_bank(page, stack, 1)
    user = page.request.get(f"{stack.urls['api']}/withdrawals/{id}").json()["user_id"]
    axe = Axe()
    found: list[tuple[str, str, str, list[str]]] = []
    # Axe comes into the page as a script of its own, which our policy would refuse.
    context = browser.new_context(viewport=PHONE, bypass_csp=True)
    seen = context.new_page()
    for path in (*PAGES, f"/withdrawals/{id}", f"/wallet?user_id={user}"):
        seen.set_viewport_size(PHONE)
        seen.emulate_media(color_scheme="light")
        seen.goto(f"{stack.urls['api']}/console{path}")
        settled(seen)
        if seen.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found.append(("phone", path, "too wide", []))
        problems = [("phone", one) for one in axe.run(seen).response["violations"]]
        seen.set_viewport_size(DESK)
        seen.emulate_media(color_scheme="dark")
        colors = axe.run(seen, options={"runOnly": ["color-contrast"]}).response["violations"]
        problems += [("dark", one) for one in colors]
        found += [
            (where, path, one["id"], [node["html"] for node in one["nodes"]]) for where, one in problems
        ]
    context.close()
    assert not found


def test_the_key_stays_in_the_tab(page: Page, stack: Stack) -> None:
    """Goal: a stack with keys asks for one, which goes in a header and is kept nowhere but in the tab."""
    keys = []

    def ask_for_a_key(route: Route) -> None:
        authorization = route.request.headers.get("authorization")
        keys.append(authorization)
        if authorization == "Bearer right":
            route.continue_(headers={k: v for k, v in route.request.headers.items() if k != "authorization"})
        else:
            route.fulfill(status=401, json={"detail": "this key is not known", "code": "unauthorized"})

    page.route("**/operator/**", ask_for_a_key)
    page.goto(f"{stack.urls['api']}/console/processes")
    for secret in ("wrong", "right"):
        page.get_by_label("API key").fill(secret)
        page.get_by_role("button", name="Open the console").click()
        if secret == "wrong":
            expect(page.get_by_role("alert")).to_contain_text("not known")
    expect(page.get_by_role("cell", name="gateway").first).to_be_visible()
    assert keys[0] is None
    assert keys[-1] == "Bearer right"
    assert page.evaluate("[localStorage.length, document.cookie, location.search]") == [0, "", ""]
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_old_news_says_so(page: Page, stack: Stack) -> None:
    """Goal: when the gateway can't be reached, what is shown stays, marked as old, and is fresh again by itself."""
    page.goto(f"{stack.urls['api']}/console/processes")
    expect(page.get_by_role("cell", name="gateway").first).to_be_visible()
    page.route("**/operator/**", lambda route: route.abort())
    expect(page.get_by_role("alert")).to_contain_text("can't be reached", timeout=PAGE_TIMEOUT_MS)
    expect(page.get_by_role("cell", name="gateway").first).to_be_visible()
    page.unroute("**/operator/**")
    expect(page.get_by_role("alert")).to_have_count(0, timeout=PAGE_TIMEOUT_MS)

"""The API's page at /docs in a real Chromium: it shows the operations, tries them out, and loads nothing foreign."""

import re
import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Request, expect, sync_playwright

from ops.local.stack import Stack
from tests import story
from tests.conftest import unavailable
from tests.service import make_whole

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PAGE_TIMEOUT_MS = 90_000

pytestmark = pytest.mark.browser


class Visit:
    """A page, and all that it asked for and complained of."""

    def __init__(self, page: Page, api: str) -> None:
        self.page = page
        self.api = api
        self.foreign: list[str] = []
        self.failed: list[str] = []
        self.complaints: list[str] = []
        page.on("request", self._note_request)
        page.on("requestfailed", lambda request: self.failed.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)

    def _note_request(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme not in ("data", "blob") and f"{url.scheme}://{url.netloc}" != self.api:
            self.foreign.append(request.url)

    def check(self) -> None:
        """Assert that nothing was asked for elsewhere, nothing was missing, nothing complained."""
        assert self.foreign == []
        assert self.failed == []
        assert self.complaints == []


@pytest.fixture
def visit(stack: Stack) -> Iterator[Visit]:
    """A browser that has opened nothing yet, and can reach loopback only."""
    if CHROMIUM is None:
        unavailable("no Chromium here")
    make_whole(stack)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                # Whatever is not loopback has no address: a foreign request would fail, not only be seen.
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            ],
        )
        page = browser.new_page()
        page.set_default_timeout(PAGE_TIMEOUT_MS)
        yield Visit(page, stack.urls["api"])
        browser.close()


def test_the_page_shows_every_operation(visit: Visit) -> None:
    """Goal: /docs lists all documented operations and webhooks, and asks nobody but the gateway for anything."""
    page = visit.page
    page.goto(f"{visit.api}/docs")
    expect(page.locator(".opblock").first).to_be_visible(timeout=PAGE_TIMEOUT_MS)
    document = page.request.get(f"{visit.api}/openapi.json").json()
    described = {
        (method.upper(), path)
        for part in ("paths", "webhooks")
        for path, item in document[part].items()
        for method in item
    }
    shown = set()
    for block in page.locator(".opblock").all():
        method = block.locator(".opblock-summary-method").inner_text()
        path = block.locator(".opblock-summary-path, .opblock-summary-path__deprecated")
        shown.add((method.strip(), path.get_attribute("data-path")))
    assert shown == described
    assert "Wallet Balance Split" in page.locator(".info").inner_text()
    assert page.locator(".errors-wrapper").count() == 0
    visit.check()


def test_an_operation_can_be_tried_out(visit: Visit) -> None:
    """Goal: a charge made in the page takes effect: the example is good, and no policy forbids the request."""
    page = visit.page
    page.goto(f"{visit.api}/docs#/Charges/createCharge")
    block = page.locator("#operations-Charges-createCharge")
    expect(block.locator("textarea.body-param__text")).to_be_visible(timeout=PAGE_TIMEOUT_MS)
    block.locator("textarea.body-param__text").fill(
        '{"user_id": "browser", "amount": 700, "idempotency_key": "from the page"}'
    )
    # By keyboard: a click waits for two frames, and some of the machine's Chromiums never draw one.
    block.get_by_role("button", name="Execute").press("Enter")
    answer = block.locator(".live-responses-table .response .response-col_status").first
    expect(answer).to_contain_text("200", timeout=PAGE_TIMEOUT_MS)
    balance = page.request.get(f"{visit.api}/balance/browser").json()
    assert balance["withdrawable"] == 700
    visit.check()


@pytest.mark.thorough  # a fifteenth of the CPU time of `make test`; test_story.py sends the same without a page
def test_the_examples_succeed_from_top_to_bottom(visit: Visit) -> None:
    """Goal: whoever presses Execute at each operation in turn succeeds, and need not copy an identifier.

    Not at a stream: the page shows an answer when it has ended. (Webhooks are the receiver's to answer.)
    """
    page = visit.page
    page.goto(f"{visit.api}/docs")
    expect(page.locator(".opblock").first).to_be_visible(timeout=PAGE_TIMEOUT_MS)
    document = page.request.get(f"{visit.api}/openapi.json").json()
    statuses = {}
    for _, _, operation in story.operations(document):
        id = operation["operationId"]
        if id in story.NOT_OURS_TO_SEND or story.never_ends(operation):
            continue
        block = page.locator(f"#operations-{operation['tags'][0]}-{id}")
        block.locator(".opblock-summary-control").press("Enter")
        block.get_by_role("button", name="Execute").press("Enter")
        status = block.locator(".live-responses-table .response .response-col_status").first
        expect(status).to_contain_text(re.compile(r"\d{3}"), timeout=PAGE_TIMEOUT_MS)
        statuses[id] = int(status.inner_text()[:3])
        block.locator(".opblock-summary-control").press("Enter")
    # The bank of this stack is faster than whoever wants to cancel.
    assert statuses.pop("cancelWithdrawal") in (200, 409)
    assert {id: status for id, status in statuses.items() if status >= 300} == {}


def test_the_root_leads_to_the_page(visit: Visit) -> None:
    """Goal: a visitor of the bare address finds the documentation."""
    visit.page.goto(visit.api)
    assert visit.page.url == f"{visit.api}/docs"
    expect(visit.page.locator("#swagger-ui .info")).to_be_visible(timeout=PAGE_TIMEOUT_MS)
    visit.check()

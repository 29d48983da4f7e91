"""GET /docs in a real Chromium: it shows the whole API and asks nobody but us for anything."""

import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.conftest import unavailable
from tests.integration.gateway.conftest import Gateway
from tests.polling import wait_until

pytestmark = pytest.mark.browser

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway; its pages need no database."""
    gateway = Gateway(tmp_path_factory.mktemp("docs"), {"DATABASE_URL": "postgresql://127.0.0.1:1/none"})
    gateway.start()
    wait_until(lambda: gateway.events("gateway_ready"), 20, what="the gateway is ready")
    yield gateway.url
    gateway.ensure_gone()


@pytest.fixture
def page() -> Iterator[Page]:
    """A tab of the machine's Chromium."""
    executable = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if executable is None:
        unavailable("no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser.new_page()
        browser.close()


def test_docs(url: str, page: Page, tmp_path: Path) -> None:
    """Goal: every documented call is on the page, it can be opened, and nothing comes from anywhere else."""
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.goto(f"{url}/docs")
    page.wait_for_selector(".opblock", timeout=30_000)
    with urllib.request.urlopen(f"{url}/openapi.json", timeout=10) as reply:
        document = json.load(reply)
    expected = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    shown = {
        (
            block.locator(".opblock-summary-method").inner_text(),
            block.locator(".opblock-summary-path").inner_text(),
        )
        for block in page.locator(".opblock").all()
    }
    # The page lets long paths break by invisible characters.
    assert {(method, path.replace("\u200b", "")) for method, path in shown} == expected
    page.locator("#operations-Charges-post_charge .opblock-summary").click()
    page.wait_for_selector("#operations-Charges-post_charge .responses-table", timeout=10_000)
    assert "idempotency_key_reused" in page.locator("#operations-Charges-post_charge").inner_text()
    page.screenshot(path=tmp_path / "docs.png")
    elsewhere = [
        one for one in asked if one.split(":")[0] != "data" and urlsplit(one).netloc != urlsplit(url).netloc
    ]
    assert elsewhere == []
    assert said == []

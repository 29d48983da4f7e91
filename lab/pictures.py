"""`python -m lab.pictures FOLDER`: remakes the README's pictures, the rates and the console.

The rates come from docs/performance/bench.json, which `wbs bench --json` wrote. The console is that of a separate
stack, in a headless Chromium, after a few charges and withdrawals.
"""

import argparse
import json
import shutil
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from playwright.sync_api import Page, sync_playwright

from ops.local.stack import Stack

matplotlib.use("Agg")

from matplotlib import pyplot

from lab.own_stack import call

BENCH = Path(__file__).parents[1] / "docs" / "performance" / "bench.json"
_OURS, _YARDSTICK = "#2f6f9f", "#b0b0b0"
_BARS = (
    ("pgbench", "PostgreSQL's pgbench: one charge per commit"),
    ("charges", "charges, 10,000 wallets"),
    ("hot", "charges, all to one wallet"),
    ("withdraw", "withdrawals accepted"),
    ("balance", "balances read"),
    ("bulk", "charges, 1,000 per request"),
)
_PAGE_TIMEOUT_MS = 60_000
_WITHDRAWALS = (
    ("rent", 1500, "DE02120300000000202051"),
    ("gym", 300, "test:decline:account_closed"),
    ("holiday", 900, "test:pending:20000"),
)


def draw_rates(measured: dict[str, Any], file: Path) -> None:
    """Draw the results of a benchmark, one bar per scenario, the yardstick first."""
    rates = [measured["scenarios"][name]["median_per_s"] for name, _ in _BARS]
    colors = [_YARDSTICK if name == "pgbench" else _OURS for name, _ in _BARS]
    figure, axes = pyplot.subplots(figsize=(9, 3), layout="constrained")
    bars = axes.barh([label for _, label in _BARS], rates, color=colors)
    axes.bar_label(bars, fmt="{:,.0f}", padding=4, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(right=1.1 * max(rates))
    axes.xaxis.set_visible(False)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_title(f"Per second, everything on one machine of {measured['machine']['cores']} cores")
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def fill(api: str) -> str:
    """Charge the wallet `alice` and make withdrawals with each kind of end. Return the id of the paid one."""
    _send(api, "/charge", user_id="alice", amount=5000, idempotency_key="salary")
    _send(
        api,
        "/charge",
        user_id="alice",
        amount=2000,
        idempotency_key="bonus",
        release_at="2030-01-01T00:00:00Z",
    )
    made = [
        _send(api, "/withdraw", user_id="alice", amount=amount, idempotency_key=key, destination=destination)
        for key, amount, destination in _WITHDRAWALS
    ]
    for withdrawal in made[:2]:
        with urllib.request.urlopen(f"{api}{withdrawal['status_url']}?wait=30", timeout=40) as answer:
            assert json.load(answer)["status"] in ("completed", "failed")
    return str(made[0]["withdrawal_id"])


def shoot_console(api: str, withdrawal_id: str, file: Path) -> None:
    """Take a picture of the console, with the wallet `alice` open and this withdrawal selected."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        )
        page = browser.new_page(viewport={"width": 1100, "height": 800}, device_scale_factor=1.25)
        page.set_default_timeout(_PAGE_TIMEOUT_MS)
        page.goto(f"{api}/console")
        _choose(page, withdrawal_id)
        page.screenshot(path=file, full_page=True)
        browser.close()


def _choose(page: Page, withdrawal_id: str) -> None:
    row = page.locator("#transactions tr").filter(has_text=withdrawal_id)
    row.wait_for()
    row.dispatch_event("click")
    page.locator("#history li").first.wait_for()


def _send(api: str, path: str, **body: Any) -> Any:
    return call("POST", api + path, body)


def main(argv: Sequence[str] | None = None) -> int:
    """Make both pictures."""
    parser = argparse.ArgumentParser(prog="python -m lab.pictures", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args(argv).folder
    folder.mkdir(parents=True, exist_ok=True)
    draw_rates(json.loads(BENCH.read_text(encoding="utf-8")), folder / "rates.png")
    with tempfile.TemporaryDirectory() as state, Stack(Path(state) / "state") as stack:
        api = stack.urls["api"]
        shoot_console(api, fill(api), folder / "console.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

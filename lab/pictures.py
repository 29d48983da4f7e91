"""`python -m lab.pictures FOLDER`: remakes the README's pictures, the rates and the console.

The rates come from docs/performance/bench.json, which `wbs bench --json` wrote. The console is that of a separate
stack, in a headless Chromium, after some charges and payouts and an outage of the bank; the hour in its charts
is made up.
"""

import argparse
import json
import math
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import matplotlib
from playwright.sync_api import Route, sync_playwright

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
_PATIENCE_S = 90.0
_FAST = {"WBS_RETRY_ROUNDS": "3", "WBS_RETRY_DELAY_MS_MIN": "200", "WBS_RETRY_DELAY_MS_MAX": "500"}
"""A ladder that is used up within seconds."""
_USERS = 40
_FAULTS = {"seed": 7, "latency_ms": 40, "decline_rate": 0.08, "pending_rate": 0.08, "settle_after_ms": 3000}


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


def fill(api: str, bank: str) -> None:
    """Let a shop charge and pay out, with each kind of end, and some withdrawals that the bank never answered."""
    waited, stuck = _open(api)
    call("PUT", f"{bank}/faults", _FAULTS)
    for number in range(_USERS):
        user = f"seller-{number + 1}"
        currency = ("EUR", "USD", "JPY")[number % 3]
        for part in range(1 + number % 4):
            charge = {"amount": 125_000 + 7_919 * number, "idempotency_key": f"sale {number} {part}"}
            _send(api, "/charge", user_id=user, currency=currency, **charge)
        payout = {"amount": 40_000 + 1_237 * number, "idempotency_key": f"payout {number}"}
        _send(api, "/withdraw", user_id=user, currency=currency, destination=_destination(number), **payout)
    _wait_until(lambda: _open(api)[0] <= waited)
    call("PUT", f"{bank}/faults", {"outage": True})
    for number in range(_USERS // 5):
        payout = {"amount": 21_500 + 991 * number, "idempotency_key": f"late payout {number}"}
        currency = ("EUR", "USD", "JPY")[number % 3]
        _send(api, "/withdraw", user_id=f"seller-{number + 1}", currency=currency, **payout)
    _wait_until(lambda: _open(api)[1] >= stuck + _USERS // 5)
    call("DELETE", f"{bank}/faults", None)


def _destination(number: int) -> dict[str, str]:
    return {"iban": f"DE{10 + number % 90}37040044053201{number:04}"}


def _open(api: str) -> tuple[int, int]:
    """Return how many withdrawals go on by themselves, and how many require attention."""
    numbers = {True: 0, False: 0}
    for one in call("GET", f"{api}/operator/overview", None)["open"]:
        numbers[one["status"] == "requires_attention"] += one["withdrawals"]
    return numbers[False], numbers[True]


def _wait_until(holds: Callable[[], bool]) -> None:
    """Wait until this holds. Raises TimeoutError."""
    give_up_at = time.monotonic() + _PATIENCE_S
    while not holds():
        if time.monotonic() > give_up_at:
            raise TimeoutError("the withdrawals did not come so far")
        time.sleep(0.3)


def shoot_console(api: str, file: Path) -> None:
    """Take a picture of the console's first page, once it shows what requires attention."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        )
        page = browser.new_page(viewport={"width": 1100, "height": 800}, device_scale_factor=1.25)
        page.set_default_timeout(_PAGE_TIMEOUT_MS)
        page.route("**/operator/overview", _add_an_hour)
        page.goto(f"{api}/console")
        page.get_by_role("link", name="bank unavailable").first.wait_for()
        page.screenshot(path=file)
        browser.close()


def _add_an_hour(route: Route) -> None:
    """Answer with what the stack says, and an hour of activity before it that was made up: nobody waits so long."""
    answer = route.fetch()
    overview = answer.json()
    end = datetime.fromisoformat(overview["at"]).replace(second=0, microsecond=0)
    overview["activity"] = [
        {"minute": (end - timedelta(minutes=ago)).isoformat(), "done": _minute(ago)}
        for ago in range(59, -1, -1)
    ]
    route.fulfill(response=answer, json=overview)


def _minute(ago: int) -> dict[str, tuple[int, float]]:
    """Return what was done in a minute of that hour: the bank was away a few minutes ago."""
    chance = random.Random(ago)
    wave = 1 + 0.35 * math.sin(ago / 7) + 0.1 * chance.random()
    away = 3 <= ago <= 8
    withdrawals = int(190 * wave)
    paid = 0 if away else int(withdrawals * (2.2 if ago in (1, 2) else 0.93))
    return {
        "write Charge": (int(1400 * wave), 0.0),
        "write MakeTransfer": (int(520 * wave * (0.9 + 0.2 * chance.random())), 0.0),
        "write PlaceHold": (int(160 * wave), 0.0),
        "write Withdraw": (withdrawals, 0.0),
        "end completed": (paid, 0.0),
        "end failed": (0 if away else int(withdrawals * 0.04), 0.0),
        "end requires_attention": (chance.randint(1, 3) if away else 0, 0.0),
        "bank pay paid": (paid, paid * (0.048 + 0.02 * chance.random())),
        "bank pay declined": (0 if away else int(withdrawals * 0.04), 0.3),
        "bank pay accepted": (0 if away else int(withdrawals * 0.06), 0.6),
        "bank pay unavailable": (int(150 * wave) if away else 0, 3.0 if away else 0.0),
        "bank pay unknown": (int(26 * wave) if ago in (8, 9) else 0, 60.0 if ago in (8, 9) else 0.0),
    }


def _send(api: str, path: str, **body: Any) -> Any:
    return call("POST", api + path, body)


def main(argv: Sequence[str] | None = None) -> int:
    """Make both pictures."""
    parser = argparse.ArgumentParser(prog="python -m lab.pictures", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args(argv).folder
    folder.mkdir(parents=True, exist_ok=True)
    draw_rates(json.loads(BENCH.read_text(encoding="utf-8")), folder / "rates.png")
    with tempfile.TemporaryDirectory() as state, Stack(Path(state) / "state", env=_FAST) as stack:
        api = stack.urls["api"]
        fill(api, stack.urls["bank"])
        shoot_console(api, folder / "console.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

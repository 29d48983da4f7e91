"""The plots of docs/PERFORMANCE.md."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes

from lab.bench.results import TARGETS, Results, machine

_OURS, _YARDSTICK, _MISSED = "#2f6f9f", "#b0b0b0", "#c0504d"

_RATES = (
    ("pgbench", "pgbench\n(yardstick)"),
    ("noop", "noop\n(yardstick)"),
    ("charges", "charges"),
    ("hot", "charges,\nhot wallet"),
    ("bulk", "charges\nin bulk"),
    ("balance", "balances"),
    ("transactions", "pages of\ntransactions"),
    ("withdraw", "withdrawals\naccepted"),
    ("mix", "mix"),
    ("payouts_0ms", "withdrawals\ncompleted"),
)


def draw(results: Results, folder: Path) -> list[Path]:
    """Write the plots that the results have data for; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, plot in (("rates", _rates), ("ratios", _ratios), ("history", _history), ("latency", _latency)):
        figure, axes = pyplot.subplots(figsize=(9, 4.5), layout="constrained")
        if plot(results, axes):
            path = folder / f"{name}.png"
            figure.savefig(path, dpi=110)
            drawn.append(path)
        pyplot.close(figure)
    return drawn


def _rates(results: Results, axes: Axes) -> bool:
    found = [(label, rate, name) for name, label in _RATES if (rate := results.median(name)) is not None]
    if not found:
        return False
    colors = [_YARDSTICK if name in ("pgbench", "noop") else _OURS for _, _, name in found]
    bars = axes.bar([label for label, _, _ in found], [rate for _, rate, _ in found], color=colors)
    axes.bar_label(bars, fmt="{:,.0f}", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_ylabel("per second")
    axes.set_title(f"64 connections, everything on one machine of {machine()['cores']} cores (medians)")
    return True


def _ratios(results: Results, axes: Axes) -> bool:
    """Draw each figure as a share of its target: beyond the line is better. Return whether there was any."""
    found = [(target, value) for target in TARGETS if (value := target.value(results)) is not None]
    if not found:
        return False
    shares = [target.bound / value if target.at_most else value / target.bound for target, value in found]
    labels = [f"{target.figure}" for target, _ in found]
    colors = [_OURS if target.reached(value) else _MISSED for target, value in found]
    bars = axes.barh(labels, shares, color=colors)
    axes.bar_label(
        bars, [f"{value:.2f} (target {target.bound:g})" for target, value in found], fontsize=8, padding=3
    )
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlim(right=max(shares) * 1.3)
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=8)
    axes.set_title("Figures relative to their targets (right of the line: reached)")
    return True


def _history(results: Results, axes: Axes) -> bool:
    points = [("none", results.median("charges_10m_none") or results.median("charges_1m_none"))]
    points += [("1 million", results.median("charges_1m")), ("10 million", results.median("charges_10m"))]
    known = [(label, rate) for label, rate in points if rate is not None]
    if len(known) < 2:
        return False
    axes.plot([label for label, _ in known], [rate for _, rate in known], marker="o", color=_OURS)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("transfers in the database")
    axes.set_ylabel("charges per second")
    axes.set_title("Charges do not slow down as history grows")
    return True


def _latency(results: Results, axes: Axes) -> bool:
    runs = results.samples.get("open_loop")
    if not runs:
        return False
    for number, run in enumerate(runs, start=1):
        points = [(percent, value) for percent, value in run.detail["percentiles_ms"] if 1 <= percent <= 99.9]
        axes.plot(
            [1 / (1 - percent / 100) for percent, _ in points],
            [value for _, value in points],
            marker=".",
            color=_OURS,
            alpha=0.4 + 0.6 * number / len(runs),
            label=f"run {number}: {run.per_s:,.0f} charges/s",
        )
    mean_ms = results.median("pgbench", lambda one: one.mean_ms)
    if mean_ms is not None:
        axes.axhline(mean_ms, color=_YARDSTICK, label="pgbench at its peak, mean latency")
    axes.set_xscale("log")
    axes.set_xticks([2, 10, 100, 1000], ["p50", "p90", "p99", "p99.9"])
    axes.set_ylim(bottom=0)
    axes.set_ylabel("ms from when the request was due")
    axes.set_title("Charges at half the peak, open loop")
    axes.legend(fontsize=8)
    return True

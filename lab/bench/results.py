"""The results: samples by scenario and ratios against their targets, as a table and as JSON."""

import datetime
import os
import platform
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.bench.load import Sample

OTHERS_CORES_MAX = 0.25
"""Number of cores used by other work above which a run is not worth much."""


@dataclass
class Results:
    """All measurements. The samples of one round are at the same place in their lists."""

    parameters: dict[str, Any]
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    start: dict[str, float] = field(default_factory=dict)
    memory: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    server: dict[str, str] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)
    started_at: str = field(
        default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat("T", "seconds")
    )

    def add(self, scenario: str, sample: Sample) -> Sample:
        """Keep a sample and return it."""
        self.samples.setdefault(scenario, []).append(sample)
        return sample

    def median(self, scenario: str, of: Callable[[Sample], float] = lambda one: one.per_s) -> float | None:
        """Return the median over the runs of a scenario; None if it did not run."""
        samples = self.samples.get(scenario)
        return statistics.median(map(of, samples)) if samples else None

    def ratio(
        self,
        scenario: str,
        yardstick: str,
        of: Callable[[Sample], float] = lambda one: one.per_s,
        by: Callable[[Sample], float] = lambda one: one.per_s,
    ) -> float | None:
        """Return the median of the rounds' ratios: a disturbance of a round affects both parts of its ratio."""
        pairs = zip(self.samples.get(scenario, []), self.samples.get(yardstick, []), strict=False)
        ratios = [of(one) / by(other) for one, other in pairs]
        return statistics.median(ratios) if ratios else None

    def rounds(self) -> int:
        """Return the number of complete rounds."""
        return min(map(len, self.samples.values()), default=0)

    def quiet(self) -> "Results":
        """Return the complete rounds in which other work hardly used the machine."""
        quiet = [
            number
            for number in range(self.rounds())
            if all(
                runs[number].detail.get("others_cores", 0.0) <= OTHERS_CORES_MAX
                for runs in self.samples.values()
            )
        ]
        return Results(
            self.parameters, {name: [runs[number] for number in quiet] for name, runs in self.samples.items()}
        )

    def others_cores(self) -> float:
        """Return the number of cores that other work on the machine used in the worst run."""
        runs = [run for runs in self.samples.values() for run in runs]
        return max((run.detail.get("others_cores", 0.0) for run in runs), default=0.0)

    def largest_mb(self, moment: str, kind: str) -> float | None:
        """Return the memory of the largest process of a kind at this moment, in MB."""
        found = [row["mb"] for row in self.memory.get(moment, []) if row["kind"] == kind]
        return max(found) if found else None

    def as_json(self) -> dict[str, Any]:
        """Return all results, with the facts needed to judge them."""
        return {
            "started_at": self.started_at,
            "machine": machine(),
            "server": self.server,
            "parameters": self.parameters,
            "scenarios": {
                name: {
                    "median_per_s": round(statistics.median(one.per_s for one in runs), 1),
                    "runs": [one.as_json() for one in runs],
                }
                for name, runs in self.samples.items()
            },
            "ratios": [
                {
                    "figure": target.figure,
                    "value": None if value is None else round(value, 3),
                    "at_most" if target.at_most else "at_least": target.bound,
                    "reached": None if value is None else target.reached(value),
                }
                for target in TARGETS
                for value in [target.value(self)]
            ],
            "start": {name: round(seconds, 2) for name, seconds in self.start.items()},
            "memory_mb": self.memory,
            "others_cores_max": self.others_cores(),
            "audit": self.audit,
        }


@dataclass(frozen=True)
class Target:
    """A figure with its bound. Targets are ratios, because times and rates of a shared machine say little."""

    figure: str
    bound: float
    value: Callable[[Results], float | None]
    at_most: bool = False

    def reached(self, value: float) -> bool:
        """Return whether the value is within the bound."""
        return value <= self.bound if self.at_most else value >= self.bound


def p50_ms(sample: Sample) -> float:
    """Return the median latency."""
    return sample.p50_ms


def p99_ms(sample: Sample) -> float:
    """Return the latency of the slowest hundredth."""
    return sample.p99_ms


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


TARGETS = (
    Target("charges/s ÷ pgbench, one charge a commit", 1.6, lambda r: r.ratio("charges", "pgbench")),
    Target("hot wallet ÷ spread", 0.90, lambda r: r.ratio("hot", "charges")),
    Target(
        "charges/s at 10 million transfers ÷ at none",
        0.90,
        lambda r: r.ratio("charges_10m", "charges_10m_none"),
    ),
    Target(
        "charges/s while half of the history is archived ÷ before and after",
        0.90,
        lambda r: r.ratio("charges_archiving", "charges_not_archiving"),
    ),
    Target("bulk charges/s ÷ pgbench", 5, lambda r: r.ratio("bulk", "pgbench")),
    Target("transfers/s ÷ pgbench", 1.0, lambda r: r.ratio("transfers", "pgbench")),
    Target("everybody → one payee ÷ spread", 0.90, lambda r: r.ratio("transfers_hot", "transfers")),
    Target("hold + capture pairs/s ÷ pgbench", 0.50, lambda r: r.ratio("hold_pairs", "pgbench")),
    Target(
        "charges with 1 % refused among them ÷ none", 0.90, lambda r: r.ratio("charges_refused", "charges")
    ),
    Target("mix, 60 % charges ÷ charges/s", 0.70, lambda r: r.ratio("mix", "charges")),
    Target("balance reads/s ÷ noop/s", 0.75, lambda r: r.ratio("balance", "noop")),
    Target("withdrawals accepted/s ÷ charges/s", 0.80, lambda r: r.ratio("withdraw", "charges_beside")),
    Target(
        "withdrawals accepted/s, relay and actors at work, bank away ÷ charges/s",
        0.70,
        lambda r: r.ratio("withdraw_away", "charges_away"),
    ),
    Target(
        "withdrawals completed/s, bank at 0 ms ÷ pgbench", 0.22, lambda r: r.ratio("payouts_0ms", "pgbench")
    ),
    Target(
        "withdrawals completed/s, bank at 200 ms, 50 threads ÷ 250",
        0.95,
        lambda r: None if (rate := r.median("payouts_200ms")) is None else rate / 250,
    ),
    Target(
        "charge p99 at half the peak ÷ pgbench's mean latency",
        1.5,
        lambda r: r.ratio("open_loop", "pgbench", lambda one: one.p99_ms, lambda one: one.mean_ms),
        at_most=True,
    ),
    Target("charges/s with events ÷ without", 0.90, lambda r: r.ratio("charges_events", "charges_no_events")),
    Target(
        "courier's backlog is empty after a peak, s",
        1,
        lambda r: _seconds(r.median("events_behind", lambda one: one.mean_ms)),
        at_most=True,
    ),
    Target(
        "lag from commit to number at half the peak, p99, s",
        1,
        lambda r: _seconds(r.median("events_lag", p99_ms)),
        at_most=True,
    ),
    Target(
        "lag from commit to a stream's client, p99, s",
        1,
        lambda r: _seconds(r.median("events_stream", p99_ms)),
        at_most=True,
    ),
    Target(
        "lag from commit to a receiver of webhooks, p99, s",
        1,
        lambda r: _seconds(r.median("events_webhook", p99_ms)),
        at_most=True,
    ),
    Target(
        "memory that 1,000 clients of the stream cost a gateway, MB",
        150,
        lambda r: r.median("events_clients", lambda one: float(one.detail["mb"])),
        at_most=True,
    ),
    Target("memory of a gateway, MB", 120, lambda r: r.largest_mb("after", "gateway"), at_most=True),
    Target(
        "memory of an actor process with its queue full, MB",
        200,
        lambda r: r.largest_mb("queue_full", "actors"),
        at_most=True,
    ),
)


def machine() -> dict[str, Any]:
    """Return the facts about the machine that the figures were measured on."""
    model = "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(pages / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }

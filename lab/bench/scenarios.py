"""The scenarios. Each round runs all of them, including the yardsticks, so that noise affects both parts of a ratio."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from lab import own_stack
from lab.bench import database, load
from lab.bench.archiving import Archiving
from lab.bench.cpu import CpuMeter
from lab.bench.events import Events
from lab.bench.load import InvalidRun, Sample
from lab.bench.results import Results
from lab.bench.stage import ACTORS, Stage
from ops.local.progress import Progress

GROUPS = (
    "start",
    "peaks",
    "transfers",
    "latency",
    "payouts",
    "events",
    "history",
    "archive",
    "away",
    "memory",
)

_BULK_CONNECTIONS = 8
"""Number of concurrent requests of 1,000 charges: together as many charges as one gateway's backlog holds."""

_BULK_ITEMS = 1_000

_AFTER_CHECKPOINT_S = 30
"""After this time, at 11,000 charges/s, 19 of 20 pages of the index of ten million keys have changed since the
checkpoint. The remaining cost is that of checkpoints in the long run: at 4 GB of log, 3 of 100 charges are the first to
change their page."""

_WARM_UP_S = 1.0
"""Warm-up of the open-loop generator, before its latencies count."""


@dataclass(frozen=True)
class Plan:
    """The lengths and numbers of runs."""

    runs: int
    seconds: float
    """Length of one run."""
    groups: tuple[str, ...] = GROUPS
    history: tuple[tuple[str, int], ...] = ()
    """Sizes of the database to measure at: name and number of transfers."""
    archive: int = 20_000_000
    """Number of transfers of which half are archived."""
    queue_full: int = 100_000
    """Number of withdrawals waiting while the memory of an actor process is measured."""
    slow_queue: int = 2_500
    """Number of withdrawals to be paid by a bank that takes 200 ms."""


class Bench:
    """Runs a plan on a stage."""

    def __init__(self, stage: Stage, plan: Plan, results: Results, progress: Progress) -> None:
        self._stage = stage
        self._plan = plan
        self._results = results
        self._progress = progress

    def run(self) -> None:
        """Run everything. Raises InvalidRun if requests failed, OpsError if the stack did."""
        self._results.memory["before"] = self._stage.memory()
        self.warm_up()
        rounds = [
            group for group in self._plan.groups if group in ("peaks", "transfers", "latency", "payouts")
        ]
        for number in range(1, self._plan.runs + 1):
            if rounds:
                self._progress.say(f"Round {number} of {self._plan.runs}")
                self.round(rounds)
        if "events" in self._plan.groups:
            self._events()
        if "history" in self._plan.groups:
            for name, transfers in self._plan.history:
                self._history(name, transfers)
        if "archive" in self._plan.groups:
            archiving = Archiving(self._stage, self, self._progress, self._plan.archive)
            archiving.run(2 * self._plan.runs)
        self._results.memory["after"] = self._stage.memory()
        if "away" in self._plan.groups:
            self._bank_away()
        if "memory" in self._plan.groups:
            self._queue_full()

    # --- Parts -------------------------------------------------------------------------------------------

    def warm_up(self) -> None:
        """Run each kind of load once, so that caches, plans and pools reach their steady state."""
        self._progress.say("Warming up")
        for kind in ("noop", "charge", "hot", "balance", "transactions", "mix"):
            load.wrk(self._stage.api, kind, 1 if self._plan.seconds < 5 else 2)
        self._stage.wait_paid()

    def round(self, groups: Sequence[str]) -> None:
        """Run the yardsticks and the scenarios of these groups once, with compared runs next to each other."""
        if "peaks" in groups:
            self.wrk("balance", "balance", writes=False)
            self.wrk("noop", "noop")
            self.wrk("hot", "hot")
        charges = self.wrk("charges", "charge")
        self._pgbench()
        if "latency" in groups:
            self._open_loop("open_loop", "charge", charges.per_s / 2)
        if "peaks" in groups:
            self.wrk("bulk", "bulk", connections=_BULK_CONNECTIONS, items=_BULK_ITEMS)
            self.wrk("transactions", "transactions", writes=False)
            self.wrk("mix", "mix", writes=False)
            self._stage.wait_paid()
        if "transfers" in groups:
            self._transfers()
        if "payouts" in groups:
            self._payouts()

    def _transfers(self) -> None:
        """Run what moves between wallets and what undoes, refusals among charges, statements and lists."""
        self.wrk("transfers", "transfer", writes=False)
        self.wrk("transfers_hot", "transfer_hot", writes=False)
        self.wrk("hold_pairs", "hold", writes=False, items=0.5)
        self.wrk("reversal_pairs", "reversal", writes=False, items=0.5)
        self.wrk("charges_refused", "refused", writes=False, refused_share=0.03)
        self.wrk("statements", "entries", writes=False)
        self.wrk("lists", "list", writes=False)

    def _pgbench(self) -> Sample:
        _settle()
        sample = load.pgbench(
            self._stage.postgres_bin,
            self._stage.pgbench_url,
            database.PGBENCH_SCRIPT,
            self._plan.seconds,
            self._stage.stack.state.root,
        )
        return self.keep("pgbench", sample)

    def wrk(
        self,
        scenario: str,
        kind: str,
        *,
        connections: int = load.CONNECTIONS,
        items: float = 1,
        writes: bool = True,
        small: bool = False,
        refused_share: float = 0.0,
    ) -> Sample:
        """Run wrk; if every request writes, check that the database has at least as many movements as were answered."""
        writes = writes and kind != "noop"
        stage = self._stage
        api = stage.small.urls["api"] if small and stage.small else stage.api
        _settle()
        before = stage.transactions(small=small) if writes else 0
        meter = CpuMeter(stage.cpu_s)
        sample = load.wrk(api, kind, self._plan.seconds, connections=connections, refused_share=refused_share)
        sample = replace(sample, per_s=sample.per_s * items)
        done = sample.per_s * self._plan.seconds
        sample.detail.update(meter.read(done))
        if writes:
            written = stage.transactions(small=small) - before
            if written < done * 0.99:
                raise InvalidRun(
                    f"{scenario}: {sample.per_s:.0f}/s were answered, but only {written} are there"
                )
        return self.keep(scenario, sample)

    def _open_loop(self, scenario: str, kind: str, per_s: float) -> Sample:
        _settle()
        seconds = max(self._plan.seconds, 5)
        sample = load.open_loop(self._stage.api, kind, per_s, seconds, warm_up_s=_WARM_UP_S)
        return self.keep(scenario, sample)

    def _payouts(self) -> None:
        """Accept a queue of withdrawals while no actor pays, then have them paid; then the same with a slower bank."""
        stage = self._stage
        since = asyncio.run(database.clock(stage.database_url))
        stage.pause_payouts()
        self.wrk("charges_beside", "charge")
        self.wrk("withdraw", "withdraw")
        stage.publish()
        fast = self._drain("payouts_0ms", since, ACTORS)
        self._paced("latency_0ms", fast.per_s / 2)
        stage.stop_second_actor()

        stage.pause_payouts()
        stage.set_bank_latency(200)
        since = asyncio.run(database.clock(stage.database_url))
        load.open_loop(stage.api, "withdraw", 2_000, 60, requests=self._plan.slow_queue)
        stage.publish()
        slow = self._drain("payouts_200ms", since, 1)
        self._paced("latency_200ms", slow.per_s / 2)
        stage.set_bank_latency(0)

    def _drain(self, scenario: str, since: datetime, actors: int) -> Sample:
        """Let the actors empty the queue prepared since then; return the rate from the first to the last."""
        _settle()
        self._stage.start_actors(actors)
        self._stage.wait_paid()
        done = asyncio.run(database.drain(self._stage.database_url, since))
        return self.keep(
            scenario, Sample(done.completed / done.seconds, detail={"withdrawals": done.completed})
        )

    def _events(self) -> None:
        """Measure what events cost. The expected difference is a few percent: do more rounds."""
        events = Events(self._stage, self, self._plan.seconds)
        for number in range(2 * self._plan.runs):
            events.round(number)
        events.many_clients()

    def _paced(self, scenario: str, per_s: float) -> None:
        """Measure the time from accepted to completed for withdrawals at a sustainable pace."""
        _settle()
        since = asyncio.run(database.clock(self._stage.database_url))
        sent = load.open_loop(self._stage.api, "withdraw", per_s, max(self._plan.seconds, 5))
        self._stage.wait_paid()
        done = asyncio.run(database.drain(self._stage.database_url, since))
        self.keep(scenario, Sample(sent.per_s, done.p50_ms, done.p99_ms))

    def _history(self, name: str, transfers: int) -> None:
        """Measure charges on a database with this number of transfers, in turn with charges on an empty one."""
        stage = self._stage
        database.fill(stage.database_url, transfers, load.HOT_USER, self._progress.say)
        stage.start_small()
        # The first change of a page after a checkpoint writes the whole page to the log. That is a small share of the
        # work between two checkpoints, but would be all the work in a measurement right after one.
        for small in (True, False):
            api = stage.small.urls["api"] if small and stage.small else stage.api
            load.wrk(api, "charge", _AFTER_CHECKPOINT_S)
        # The expected difference is a few percent, less than the noise of runs: do more runs, each side first in turn.
        for number in range(2 * self._plan.runs):
            for small in (True, False) if number % 2 == 0 else (False, True):
                self.wrk(f"charges_{name}_none" if small else f"charges_{name}", "charge", small=small)

    def _bank_away(self) -> None:
        """Accept withdrawals while relay and actors are at work, in vain: the bank is away. They stay open."""
        stage = self._stage
        stage.publish()
        stage.start_actors(1)
        stage.stack.stop_kind("bank_sim")
        for _ in range(self._plan.runs):
            self.wrk("charges_away", "charge")
            self.wrk("withdraw_away", "withdraw")
        stage.stack.start_kind("bank_sim")
        faults = f"{stage.stack.urls['bank']}/faults"
        stage.wait(partial(own_stack.answers, "PUT", faults, {}), "the bank to answer", 30)

    def _queue_full(self) -> None:
        """Measure the memory of an actor process that works while very many withdrawals wait."""
        stage = self._stage
        stage.pause_payouts()
        stage.set_bank_latency(200)
        self._progress.say(f"Accepting {self._plan.queue_full:,} withdrawals for the queue")
        while stage.open_withdrawals() < self._plan.queue_full:
            load.wrk(stage.api, "withdraw", 2)
        stage.publish()
        stage.start_actors(1)
        before = stage.open_withdrawals()
        stage.wait(lambda: stage.open_withdrawals() < before - 1_000, "the actors to pay some of them", 60)
        self._results.memory["queue_full"] = stage.memory()
        stage.pause_payouts()

    def keep(self, scenario: str, sample: Sample) -> Sample:
        """Tell a sample, and keep it."""
        latency = f"   p50 {sample.p50_ms:.1f} ms, p99 {sample.p99_ms:.1f} ms" if sample.p99_ms else ""
        self._progress.say(f"  {scenario:<18}{sample.per_s:>10,.0f}/s{latency}")
        return self._results.add(scenario, sample)


def _settle() -> None:
    """Write the dirty pages of earlier runs in the system's cache to the disk.

    Linux does it by itself, but 30 s later: in the middle of another run, after bulk charges 200 MB at once, and
    commits would wait for the disk behind them.
    """
    os.sync()

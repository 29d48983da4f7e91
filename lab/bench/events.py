"""What events cost and how soon they are told: charges with and without them, rate of the courier, lags, streams."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from lab.bench import database, load
from lab.bench.load import InvalidRun, Sample
from lab.bench.stage import Stage

CLIENTS = 1_000
_CLIENTS_PER_S = 20
"""Charges per second that a thousand clients are told of: 20,000 events are sent per second."""
_TOLD_S_MAX = 30.0


class Runner(Protocol):
    """What runs a scenario and keeps its sample: see `scenarios.Bench`."""

    def wrk(self, scenario: str, kind: str) -> Sample:
        """Run wrk on charges, say."""

    def keep(self, scenario: str, sample: Sample) -> Sample:
        """Keep a sample."""


class Events:
    """The scenarios of the group `events`."""

    def __init__(self, stage: Stage, runner: Runner, seconds: float) -> None:
        self._stage = stage
        self._runner = runner
        self._seconds = max(seconds, 5)

    def round(self, number: int) -> None:
        """Run each scenario once, with compared runs next to each other, each first in turn."""
        for noted in (True, False) if number % 2 else (False, True):
            self._charges(noted)
        self._backlog()
        self._lags()

    def _charges(self, noted: bool) -> None:
        """Measure charges with events, until all have their numbers, or without: no note, no courier."""
        stage = self._stage
        if noted:
            self._runner.wrk("charges_events", "charge")
            began = time.monotonic()
            stage.wait_numbered()
            # A rate is none of it, but each sample has one.
            self._runner.keep("events_behind", Sample(1, mean_ms=(time.monotonic() - began) * 1000))
            return
        stage.note_events(False)
        try:
            self._runner.wrk("charges_no_events", "charge")
        finally:
            stage.note_events(True)

    def _backlog(self) -> None:
        """Measure how fast the courier numbers what has piled up without it."""
        stage = self._stage
        stage.stack.stop_kind("courier")
        load.wrk(stage.api, "charge", 2 * self._seconds)
        since = asyncio.run(database.clock(stage.database_url))
        stage.start_courier()
        stage.wait_numbered()
        done = asyncio.run(database.numbered(stage.database_url, since))
        self._runner.keep("events_numbered", Sample(done.per_s))

    def _lags(self) -> None:
        """Measure lags at half the peak: from the statement to the number, and to a stream's client."""
        stage = self._stage
        peak = self._runner.wrk("charges_peak", "charge")
        stage.wait_numbered()
        since = asyncio.run(database.clock(stage.database_url))
        with self._listening(1) as told:
            sent = load.open_loop(stage.api, "charge", peak.per_s / 2, self._seconds, warm_up_s=1.0)
            stage.wait_numbered()
        done = asyncio.run(database.numbered(stage.database_url, since))
        self._runner.keep("events_commit", sent)
        self._runner.keep("events_lag", Sample(sent.per_s, done.p50_ms, done.p99_ms))
        self._runner.keep("events_stream", Sample(sent.per_s, told["p50_ms"], told["p99_ms"]))

    def many_clients(self) -> None:
        """Have a thousand clients follow the stream of one gateway, and all be told all."""
        stage = self._stage
        stage.leave_one_gateway()
        before = stage.largest_mb("gateway")
        with self._listening(CLIENTS) as told:
            load.open_loop(stage.api, "charge", _CLIENTS_PER_S, self._seconds)
            most = stage.largest_mb("gateway")
            stage.wait_numbered()
        sample = Sample(told["events"] * CLIENTS / self._seconds, told["p50_ms"], told["p99_ms"])
        sample.detail.update(mb=round(most - before, 1), behind_s=told["behind_s"])
        self._runner.keep("events_clients", sample)
        stage.stack.start_kind("gateway")

    @contextmanager
    def _listening(self, clients: int) -> Iterator[dict[str, Any]]:
        """Follow the stream during the block; what is yielded holds the figures afterwards."""
        stage, told = self._stage, dict[str, Any]()
        after = asyncio.run(database.last_event(stage.database_url))
        plan = {"url": stage.api, "clients": clients, "after": after, "seconds": _TOLD_S_MAX}
        argv = [sys.executable, "-P", "-m", "lab.bench.listeners", json.dumps(plan)]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                first = process.stdout.readline().strip()
                if first != "listening":
                    raise InvalidRun(f"events: {clients} clients could not listen: {first}")
                yield told
                until = asyncio.run(database.last_event(stage.database_url))
                output, _ = process.communicate(f"{until}\n", timeout=_TOLD_S_MAX + 10)
                told.update(json.loads(output))
                if told["complete"] != clients:
                    raise InvalidRun(f"events: of {clients} clients not all were told all: {told}")
            finally:
                process.kill()

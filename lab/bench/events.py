"""What events cost and how soon they are told: charges with and without them, the courier, lags, streams, webhooks."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol

from lab import own_stack
from lab.bench import database, load
from lab.bench.load import InvalidRun, Sample
from lab.bench.stage import API_KEY, Stage

CLIENTS = 1_000
_CLIENTS_PER_S = 20
"""Charges per second that a thousand clients are told of: 20,000 events are sent per second."""
_TOLD_S_MAX = 30.0
_WITHDRAWALS_PER_S = 20
"""An endpoint takes some hundred events per second: it is told of these alone, among all the charges."""


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
        self._webhook_lag(peak.per_s / 2)

    def _webhook_lag(self, charges_per_s: float) -> None:
        """Measure the lag to a receiver of webhooks that is told of a few withdrawals among these charges."""
        stage, seconds = self._stage, self._seconds
        with self._receiving("withdrawal.pending") as told, ThreadPoolExecutor(1) as beside:
            charging = beside.submit(
                load.open_loop, stage.api, "charge", charges_per_s, seconds, warm_up_s=1.0
            )
            load.open_loop(stage.api, "withdraw", _WITHDRAWALS_PER_S, seconds)
            charging.result()
            stage.wait_paid()
            stage.wait_numbered()
        if told["events"] != int(_WITHDRAWALS_PER_S * seconds):
            raise InvalidRun(f"events: a receiver of webhooks was not told all: {told}")
        sample = Sample(told["events"] / seconds, told["p50_ms"], told["p99_ms"])
        self._runner.keep("events_webhook", sample)

    @contextmanager
    def _receiving(self, type: str) -> Iterator[dict[str, Any]]:
        """Have events of a type told to a receiver during the block; what is yielded holds the figures afterwards."""
        stage, told = self._stage, dict[str, Any]()
        url, key = f"{stage.api}/webhooks", os.environ[API_KEY]
        argv = [sys.executable, "-P", "-m", "lab.bench.receiver"]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                asked = {"url": f"http://127.0.0.1:{process.stdout.readline().strip()}/", "types": [type]}
                id = own_stack.call("POST", url, asked, key)["id"]
                yield told
                until = asyncio.run(database.last_event(stage.database_url))

                def is_told() -> bool:
                    return int(own_stack.call("GET", f"{url}/{id}", None, key)["delivered_seq"]) >= until

                stage.wait(is_told, "a receiver of webhooks to be told all", _TOLD_S_MAX)
                own_stack.call("DELETE", f"{url}/{id}", None, key)
                output, _ = process.communicate(timeout=_TOLD_S_MAX)
                told.update(json.loads(output))
            finally:
                process.kill()

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

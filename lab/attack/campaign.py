"""One attack: a stack of its own, waves of hostile requests, a client beside them, and what all of that came to."""

import asyncio
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from actors.audit import run_audit
from db import api_keys
from db.api_keys import NewApiKey
from db.connections import connect
from lab import own_stack
from lab.attack.bank_trial import BankTrial
from lab.attack.hostile import WAVES, Target
from lab.attack.waves import CROWDS, Wave, run_wave
from ops.errors import OpsError
from ops.local.progress import Progress
from ops.local.stack import Stack
from runtime.settings import Settings
from wallet.scopes import GRANTABLE, Scope

MEMORY_MB_MAX = 300.0
SHARE_MIN = 0.8
WEIGHTS = {"bulks": 0.05, "bodies": 0.5}
"""Waves of fewer shots than others: a bulk of 1 MB takes as much as a hundred of them."""
_BREATHER_S = 2.0
_LET_IN_S_MAX = 15.0


@dataclass
class Report:
    """What an attack came to."""

    seed: int
    waves: list[Wave] = field(default_factory=list)
    memory_mb: dict[str, float] = field(default_factory=dict)
    """The most that a process of each kind ever had."""
    restarts: list[str] = field(default_factory=list)
    books_ok: bool = False

    def faults(self) -> list[str]:
        """Return what is wrong, one sentence each. The shares are not judged: on a busy machine they say little."""
        wrong = [f"{wave.name}: {found}" for wave in self.waves for found in wave.found]
        for wave in self.waves:
            wrong += [
                f"{wave.name}: {count} × {status}"
                for status, count in wave.statuses.items()
                if _is_bad(status)
            ]
            others = {
                status: count for status, count in wave.bystander.items() if status not in ("200", "503")
            }
            if others:
                wrong.append(f"{wave.name}: the client beside it met {others}")
        for kind, mb in self.memory_mb.items():
            if mb > MEMORY_MB_MAX:
                wrong.append(f"{kind} had {mb:.0f} MB")
        wrong += [f"{kind} ended and was started again" for kind in self.restarts]
        if not self.books_ok:
            wrong.append("the books are wrong")
        return wrong


def _is_bad(status: str) -> bool:
    return status.startswith("!") or status in ("500", "502", "504")


def attack(folder: Path, seed: int, shots: int, slow: int, progress: Progress) -> Report:
    """Attack a stack of its own, `shots` requests in all and `slow` connections that send next to nothing."""
    report = Report(seed)
    bank = BankTrial(seed)
    stack = Stack(folder, env=own_stack.ENVIRONMENT, progress=progress, adapt=bank.rewire)
    stack.state.delete()
    try:
        stack.start()
        target, bystander_key = _prepare(stack)
        with _Memory(stack, report):
            for name in [*WAVES, *CROWDS]:
                number = slow // CROWDS[name] if name in CROWDS else _shots_of(name, shots)
                report.waves.append(run_wave(stack.urls["api"], target, bystander_key, name, number, seed))
                progress.say(str(report.waves[-1]))
                time.sleep(_BREATHER_S)
            report.waves.append(bank.run(stack.urls["api"], target.strong_key, max(20, shots // 200)))
            progress.say(str(report.waves[-1]))
        progress.say("Auditing the books")
        report.books_ok = asyncio.run(run_audit(Settings.from_env(stack.env))).ok
    finally:
        bank.stop()
        stack.stop()
        stack.state.delete()
    return report


def _shots_of(wave: str, shots: int) -> int:
    """Return how many of all shots are those of a wave: long ones are fewer, so that the attack ends within minutes."""
    return round(shots * WEIGHTS.get(wave, 1.0) / sum(WEIGHTS.get(name, 1.0) for name in WAVES))


def _prepare(stack: Stack) -> tuple[Target, str]:
    """Make keys and a victim with a withdrawal; return whom to attack, and the key of the client beside it."""
    keys = asyncio.run(_create_keys(Settings.from_env(stack.env)))
    url = stack.urls["api"]
    order = {"user_id": "victim", "amount": 1_000, "idempotency_key": "attack-first"}
    _call_when_let_in(f"{url}/charge", order, keys["strong"])
    pages = [
        {**order, "idempotency_key": f"attack-page-{number}", "metadata": {"x": "x" * 1_000}}
        for number in range(100)
    ]
    _call_when_let_in(f"{url}/charges", pages, keys["strong"])
    withdrawal = {**order, "amount": 1, "idempotency_key": "attack-w"}
    taken = _call_when_let_in(f"{url}/withdraw", withdrawal, keys["strong"])
    time.sleep(_BREATHER_S)  # by now each gateway knows the keys
    host = urlsplit(url).netloc
    target = Target(host, keys["strong"], keys["partner"], keys["reader"], "victim", taken["withdrawal_id"])
    return target, keys["bystander"]


def _call_when_let_in(url: str, body: Any, key: str) -> Any:
    """Return the response: a new key is not known at once, nor at each gateway at the same time."""
    deadline = time.monotonic() + _LET_IN_S_MAX
    while True:
        try:
            return own_stack.call("POST", url, body, key)
        except OpsError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


async def _create_keys(settings: Settings) -> dict[str, str]:
    wanted = [
        NewApiKey("strong", GRANTABLE),
        NewApiKey("bystander", frozenset({Scope.CHARGE})),
        NewApiKey("reader", frozenset({Scope.READ})),
        NewApiKey("partner", GRANTABLE, "partner", "acme-"),
    ]
    connection = await connect(settings.database)
    try:
        return {
            new.name: (await api_keys.create(connection, new, "operator:attack")).secret for new in wanted
        }
    finally:
        connection.terminate()


class _Memory:
    """Watches how much each process of ours has, four times per second, and whether any of them ended."""

    def __init__(self, stack: Stack, report: Report) -> None:
        self._stack = stack
        self._report = report
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._pids = {int(row["pid"]): str(row["kind"]) for row in self._stack.ps()}
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        now = {int(row["pid"]) for row in self._stack.ps()}
        self._report.restarts = [kind for pid, kind in self._pids.items() if pid not in now]

    def _watch(self) -> None:
        most = self._report.memory_mb
        while not self._over.wait(0.25):
            for pid, kind in self._pids.items():
                with suppress(psutil.Error):
                    mb = psutil.Process(pid).memory_info().rss / 2**20
                    most[kind] = round(max(most.get(kind, 0.0), mb), 1)

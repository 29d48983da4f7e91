"""One attack: a stack of its own, waves of hostile requests, a client beside them, and what all of that came to."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from db import api_keys
from db.api_keys import NewApiKey
from db.connections import connect
from lab import own_stack
from lab.attack.hostile import WAVES, Target
from ops.audit import run_audit
from ops.errors import OpsError
from ops.local.progress import Progress
from ops.local.stack import Stack
from runtime.settings import Settings
from wallet.scopes import GRANTABLE, Scope

MEMORY_MB_MAX = 300.0
SHARE_MIN = 0.8
CONNECTIONS = 32
"""Of the attacker, at once, in waves of requests."""
_BYSTANDER_CONNECTIONS = 4
_WARM_UP_S = 1.0
_BREATHER_S = 2.0
_LET_IN_S_MAX = 15.0


@dataclass
class Wave:
    """What a wave came to. `share`: of the charges per second that are answered beside a server that only refuses."""

    name: str
    shots: int
    seconds: float
    statuses: dict[str, int]
    found: list[str]
    bystander: dict[str, int]
    share: float


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
    stack = Stack(folder, env=own_stack.ENVIRONMENT, progress=progress)
    stack.state.delete()
    try:
        stack.start()
        target, bystander_key = _prepare(stack)
        with _Memory(stack, report):
            for name in [*WAVES, "slow"]:
                number = slow if name == "slow" else shots // len(WAVES)
                wave = _wave(stack, target, bystander_key, name, number, seed)
                report.waves.append(wave)
                answers = ", ".join(f"{count} × {status}" for status, count in sorted(wave.statuses.items()))
                progress.say(
                    f"{name}: {wave.shots:,} in {wave.seconds:.0f} s, {answers}, share {wave.share:.2f}"
                )
                time.sleep(_BREATHER_S)
        progress.say("Auditing the books")
        report.books_ok = asyncio.run(run_audit(Settings.from_env(stack.env))).ok
    finally:
        stack.stop()
        stack.state.delete()
    return report


def _prepare(stack: Stack) -> tuple[Target, str]:
    """Make keys and a victim with a withdrawal; return whom to attack, and the key of the client beside it."""
    keys = asyncio.run(_create_keys(Settings.from_env(stack.env)))
    url = stack.urls["api"]
    order = {"user_id": "victim", "amount": 1_000, "idempotency_key": "attack-first"}
    deadline = time.monotonic() + _LET_IN_S_MAX
    while True:
        try:
            own_stack.call("POST", f"{url}/charge", order, keys["strong"])
            break
        except OpsError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
    time.sleep(_BREATHER_S)  # by now each gateway knows the keys
    taken = own_stack.call(
        "POST", f"{url}/withdraw", {**order, "amount": 1, "idempotency_key": "attack-w"}, keys["strong"]
    )
    host = urlsplit(url).netloc
    target = Target(host, keys["strong"], keys["partner"], keys["reader"], "victim", taken["withdrawal_id"])
    return target, keys["bystander"]


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


def _wave(stack: Stack, target: Target, key: str, name: str, shots: int, seed: int) -> Wave:
    """Let the attacker loose on a server that only refuses, then on ours; both times beside the same client."""
    parts = urlsplit(stack.urls["api"])
    plan = {
        "wave": name,
        "target": target._asdict(),
        "seed": seed,
        "connections": CONNECTIONS,
        "seconds": 5,
        "host": parts.hostname,
    }
    refuser = _start("lab.attack.refuser")
    try:
        assert refuser.stdout is not None
        port = int(refuser.stdout.readline())
        before, _, _ = _beside(
            stack, key, {**plan, "port": port, "shots": shots // 4 if name != "slow" else shots}
        )
    finally:
        _end(refuser)
    after, found, seconds = _beside(stack, key, {**plan, "port": parts.port, "shots": shots})
    share = _rate(after) / _rate(before) if _rate(before) else 0.0
    return Wave(name, shots, seconds, found["statuses"], found["found"], after["statuses"], share)


def _beside(stack: Stack, key: str, plan: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], float]:
    """Return what the client and the attacker saw, and for how long the attack went on, in seconds."""
    bystander_plan = {"api": stack.urls["api"], "key": key, "connections": _BYSTANDER_CONNECTIONS}
    bystander = _start("lab.attack.bystander", json.dumps(bystander_plan))
    try:
        time.sleep(_WARM_UP_S)
        started = time.monotonic()
        run = subprocess.run(
            [sys.executable, "-P", "-m", "lab.attack.shooter", json.dumps(plan)],
            capture_output=True,
            text=True,
        )
        seconds = time.monotonic() - started
        if run.returncode != 0:
            raise OpsError(f"The attacker failed: {run.stderr[-500:]}")
    finally:
        said = _end(bystander)
    return json.loads(said), json.loads(run.stdout), seconds


def _rate(seen: dict[str, Any]) -> float:
    return float(seen["statuses"].get("200", 0)) / float(seen["seconds"])


def _start(module: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _end(process: "subprocess.Popen[str]") -> str:
    """Close its input; return what it still says. It is killed if it does not end."""
    try:
        said, _ = process.communicate(timeout=60)
        return said
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise OpsError("A part of the attack did not end.") from None


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

"""One wave of an attack, in turns: at a server that only refuses, and at ours, both times beside the same client."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from lab.attack.hostile import Target
from ops.errors import OpsError

CONNECTIONS = 48
"""Of the attacker, at once, in waves of requests."""
CROWDS = {"slow": 1, "deaf": 20}
"""Waves of very many connections: the largest number of them is divided by this."""
ROUNDS = 4
"""Turns of each wave: on a machine that does other things, too, what is compared has to lie side by side."""
YARDSTICK_S = (2.0, 10.0)
"""The attack on the server that only refuses goes on for as long as the one on ours, within these bounds."""
_BYSTANDER_CONNECTIONS = 4
_WARM_UP_S = 1.0
_NO_END = 10**9
"""Shots of an attack that a time ends."""


@dataclass
class Wave:
    """What a wave came to. `share`: of the charges per second that are answered beside a server that only refuses."""

    name: str
    shots: int = 0
    seconds: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)
    bystander: dict[str, int] = field(default_factory=dict)
    share: float | None = None

    def __str__(self) -> str:
        answers = ", ".join(f"{count} × {status}" for status, count in sorted(self.statuses.items()))
        share = "" if self.share is None else f", share {self.share:.2f}"
        return f"{self.name}: {self.shots:,} in {self.seconds:.0f} s, {answers}{share}"


def add(counts: dict[str, int], more: Mapping[str, int]) -> None:
    """Add counts to those there are."""
    for name, count in more.items():
        counts[name] = counts.get(name, 0) + count


def run_wave(api: str, target: Target, key: str, name: str, shots: int, seed: int) -> Wave:
    """Let the attacker loose in turns. `key` is that of the client beside it."""
    parts = urlsplit(api)
    wave = Wave(name)
    rounds = 1 if name in CROWDS else ROUNDS
    sent = max(1, shots // rounds)
    ours, refusers = [0.0, 0.0], [0.0, 0.0]
    refuser = start("lab.attack.refuser")
    try:
        assert refuser.stdout is not None
        port = int(refuser.stdout.readline())
        for number in range(rounds):
            plan: dict[str, Any] = {
                "wave": name,
                "target": target._asdict(),
                "seed": f"{seed}:{number}",
                "connections": CONNECTIONS,
                "seconds": 20,
                "host": parts.hostname,
                "shots": sent,
            }
            seen, found, seconds = _beside(api, key, plan | {"port": parts.port})
            wave.shots += sent
            wave.seconds += seconds
            add(wave.statuses, found["statuses"])
            wave.found += found["found"]
            add(wave.bystander, seen["statuses"])
            _add_rate(ours, seen)
            if name not in CROWDS:
                shortest, longest = YARDSTICK_S
                plan |= {"shots": _NO_END, "until_s": max(shortest, min(seconds, longest))}
            _add_rate(refusers, _beside(api, key, plan | {"port": port})[0])
    finally:
        end(refuser)
    wave.share = (ours[0] / ours[1]) / (refusers[0] / refusers[1]) if refusers[0] else 0.0
    return wave


def _add_rate(rate: list[float], seen: Mapping[str, float]) -> None:
    """Add a turn's charges and seconds."""
    rate[0] += seen["charges"]
    rate[1] += seen["seconds"]


def _beside(api: str, key: str, plan: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], float]:
    """Return what the client and the attacker saw, and for how long the attack went on, in seconds."""
    bystander_plan = {"api": api, "key": key, "connections": _BYSTANDER_CONNECTIONS}
    bystander = start("lab.attack.bystander", json.dumps(bystander_plan))
    try:
        time.sleep(_WARM_UP_S)
        assert bystander.stdin is not None
        bystander.stdin.write("the attack begins\n")
        bystander.stdin.flush()
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
        said = end(bystander)
    return json.loads(said), json.loads(run.stdout), seconds


def start(module: str, *arguments: str) -> "subprocess.Popen[str]":
    """Start a part of the attack as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def end(process: "subprocess.Popen[str]") -> str:
    """Close its input; return what it still says. It is killed if it does not end."""
    try:
        said, _ = process.communicate(timeout=60)
        return said
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise OpsError("A part of the attack did not end.") from None

"""A hostile bank before the simulator: withdrawals meet it, and have to end rightly once it has calmed down."""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from lab import own_stack
from lab.attack.waves import Wave, add, end, start
from ops.errors import OpsError
from ops.local.supervision import Program

_KINDS = ("actors", "reconciler")
"""The processes that speak to the bank."""
_HOSTILE_S_PER_ORDER = 0.1
_HOSTILE_S_MIN = 15.0
_ENDED_WITHIN_S = 240.0
_ENDS = frozenset({"completed", "requires_attention"})
"""Nobody declines: what was not paid, or was contradicted, is for a person."""


class BankTrial:
    """Stands between a stack and its bank. Hand `rewire` to the stack."""

    def __init__(self, seed: int) -> None:
        self._process = start("lab.attack.hostile_bank", json.dumps({"seed": seed}))
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())
        self._stopped = False

    def rewire(self, program: Program) -> Program:
        """Return the program; what it takes for the bank is the hostile one, calm at first."""
        environment: Mapping[str, str] = program.environment
        if program.kind not in _KINDS:
            return program
        port = urlsplit(environment["WBS_BANK_URL"]).port
        self._say(f"target {port}")
        return replace(
            program, environment={**environment, "WBS_BANK_URL": "http" + f"://127.0.0.1:{self._port}"}
        )

    def run(self, api: str, key: str, orders: int) -> Wave:
        """Withdraw, under hostility for a while; then wait until all of it has ended."""
        wave = Wave("bank", orders)
        started = time.monotonic()
        own_stack.call("POST", f"{api}/charge", _order(10 * orders, "attack-bank"), key)
        self._say("hostile")
        paths = [
            own_stack.call("POST", f"{api}/withdraw", _order(1 + number % 3, f"attack-bank-{number}"), key)[
                "status_url"
            ]
            for number in range(orders)
        ]
        time.sleep(max(_HOSTILE_S_MIN, _HOSTILE_S_PER_ORDER * orders))
        self._say("calm")
        deadline = time.monotonic() + _ENDED_WITHIN_S
        for path in paths:
            status = _status(api + path, key)
            while status not in _ENDS and status != "failed" and time.monotonic() < deadline:
                time.sleep(0.2)
                status = _status(api + path, key)
            add(wave.statuses, {status if status in _ENDS else f"! {status}": 1})
            if status not in _ENDS:
                wave.found.append(f"{path} is {status}")
        add(wave.statuses, self.stop())
        wave.seconds = time.monotonic() - started
        return wave

    def stop(self) -> dict[str, int]:
        """End the hostile bank; return how often it did what."""
        if self._stopped:
            return {}
        self._stopped = True
        said: dict[str, int] = json.loads(end(self._process))
        return {f"bank: {action}": count for action, count in said.items()}

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


def _order(amount: int, key: str) -> dict[str, Any]:
    return {"user_id": "attack-bank", "amount": amount, "idempotency_key": key}


def _status(url: str, key: str) -> str:
    try:
        return str(own_stack.call("GET", url, None, key)["status"])
    except OpsError as error:
        return str(error)

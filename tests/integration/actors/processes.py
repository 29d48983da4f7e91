"""Our processes as they really run, one OS process each, to be killed, stopped and started again by tests."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp

from tests.polling import wait_until
from tests.ports import free_port

STOP_S_MAX = 30


class Process:
    """`python -m MODULE` with an environment of its own; what it logs is in `log`."""

    def __init__(self, module: str, folder: Path, environment: dict[str, str]) -> None:
        self._module = module
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("WBS_", "DATABASE_", "RABBITMQ_"))}
        self._environment = {**clean, **environment}
        self.log = folder / f"{module}.log"
        self.trail = folder / f"{module}.trail.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Process":
        assert not self.running
        with self.log.open("ab") as log, self.trail.open("ab") as trail:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module], env=self._environment, stderr=log, stdout=trail
            )
        return self

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_S_MAX)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(STOP_S_MAX)

    def wait(self) -> int:
        """Wait for its own end; returns the exit code."""
        assert self._process is not None
        return self._process.wait(STOP_S_MAX)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ensure_gone(self) -> None:
        if self.running:
            self.kill()


class BankProcess(Process):
    """The bank simulator."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        books = {"WBS_BANK_PORT": str(self.port), "WBS_BANK_DATA": str(folder / "bank.db")}
        super().__init__("bank_sim", folder, environment | books)

    def start(self) -> "BankProcess":
        super().start()
        wait_until(self._listens, what="the bank listens")
        return self

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    async def faults(self, **faults: Any) -> None:
        """Replace what goes wrong at the bank; nothing given: nothing goes wrong."""
        async with (
            aiohttp.ClientSession() as session,
            session.put(f"{self.url}/faults", json=faults) as response,
        ):
            assert response.status == 200, await response.text()

    async def send_back(self, reference: object) -> None:
        """Return a payout's money, without a callback being heard by anybody."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.url}/payouts/{reference}/return") as response,
        ):
            assert response.status == 200, await response.text()

    async def books(self) -> list[dict[str, Any]]:
        """Everything the bank has paid."""
        payouts: list[dict[str, Any]] = []
        after = ""
        async with aiohttp.ClientSession() as session:
            while True:
                async with session.get(f"{self.url}/payouts?limit=1000{after}") as response:
                    page = await response.json()
                payouts += page["payouts"]
                if page["next"] is None:
                    return payouts
                after = f"&after={page['next']}"

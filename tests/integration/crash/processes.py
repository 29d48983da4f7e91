"""Processes that end themselves at a step, and a gateway to be called."""

import signal
from pathlib import Path
from typing import Any

import aiohttp

from tests.integration.actors.processes import Process
from tests.polling import poll_until

REACHED_S_MAX = 45
"""A process start and a payout on a machine that does other things too."""


class CrashingProcess(Process):
    """`python -m MODULE`, until it comes to a step of tests/integration/crash/launcher.py."""

    def __init__(self, module: str, step: str, folder: Path, environment: dict[str, str]) -> None:
        self.flag = folder / f"{module} reached {step}"
        crash = {"CRASH_MODULE": module, "CRASH_STEP": step, "CRASH_FLAG": str(self.flag)}
        super().__init__("tests.integration.crash.launcher", folder, environment | crash)

    async def reached(self) -> None:
        """Wait until it is at its step (those that it survives)."""
        await poll_until(self.flag.exists, REACHED_S_MAX, what=self.flag.name)

    async def died(self) -> None:
        """Wait until it is dead, and make sure that it was that death."""
        await poll_until(lambda: not self.running, REACHED_S_MAX, what=self.flag.name)
        assert self._process is not None
        assert (self._process.returncode, self.flag.exists()) == (-signal.SIGKILL, True), self.log.read_text()


class Gateway:
    """One gateway after the other on the same port, and a client of theirs."""

    def __init__(self, folder: Path, environment: dict[str, str], port: int) -> None:
        self._folder = folder
        self._environment = environment
        self.url = f"http://127.0.0.1:{port}"
        self.process: Process | None = None

    async def start(self, dies_at: str | None = None) -> None:
        """Start one, to die at a step or to stay."""
        if dies_at is None:
            self.process = Process("gateway", self._folder, self._environment)
        else:
            self.process = CrashingProcess("gateway.__main__", dies_at, self._folder, self._environment)
        self.process.start()
        await poll_until(self._answers, REACHED_S_MAX, what="the gateway answers")

    async def died(self) -> None:
        """Wait until it is dead at its step."""
        assert isinstance(self.process, CrashingProcess)
        await self.process.died()

    async def post(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, bytes, dict[str, str]]:
        """Return status, body and headers (by lower-case name). Raises aiohttp.ClientError."""
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session,
            session.post(self.url + path, json=body) as reply,
        ):
            return reply.status, await reply.read(), {k.lower(): v for k, v in reply.headers.items()}

    async def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.running, self.process.log.read_text()
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self.url}/health/live") as reply:
                return reply.status == 200
        except (TimeoutError, aiohttp.ClientError):
            return False

    def ensure_gone(self) -> None:
        if self.process is not None:
            self.process.ensure_gone()

"""The nightly audit: once a day, at `WBS_AUDIT_AT` (UTC), a child process audits the books, for an hour at most.

Of several reconcilers one claims the night by a row of `audit_runs`; it need not be the one that leads. An audit that
could not be done is tried again every hour. `actors.vitals` tells Prometheus what the last complete one found.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any

from db.audit_runs import claim, finish
from db.connections import connect
from db.errors import DATABASE_ERRORS
from runtime import beat
from runtime.identity import process_name
from runtime.slices import DatabaseSettings
from runtime.telemetry import log

LOOK_S = 60.0
"""Interval at which to look whether an audit is due."""
AUDIT_S_MAX = 3600.0
AGAIN_AFTER = timedelta(seconds=AUDIT_S_MAX)
_COMMAND_TIMEOUT_S = 5
_DAY = timedelta(days=1)
_OF_THE_PARENT = (beat.VARIABLE, "WBS_METRICS_PORT", "PROMETHEUS_MULTIPROC_DIR")
"""Variables that only the reconciler itself may have."""


class NightlyAudit:
    """Audits each time that it is due."""

    def __init__(
        self,
        database: DatabaseSettings,
        at: time,
        *,
        command: tuple[str, ...] = ("-P", "-m", "actors.audit"),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        within_s: float = AUDIT_S_MAX,
    ) -> None:
        """Make it. `at` is the time of day in UTC, `command` what Python is to run, `within_s` its longest time."""
        self._database = database
        self._at = at
        self._command = command
        self._now = now
        self._within_s = within_s

    async def run(self) -> None:
        """Look for ever whether an audit is due, and do it."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Do the audit if one is due and nobody else has claimed it."""
        due_at = last_instant(self._at, self._now())
        try:
            if not await self._claimed(due_at):
                return
            log.info("audit_begun", due_at=due_at)
            violations, detail = await self._audit()
            await self._finish(due_at, violations, detail)
        except DATABASE_ERRORS as error:
            log.warning("audit_not_recorded", error=f"{type(error).__name__}: {error}")
            return
        tell = log.warning if violations is None else log.error if violations else log.info
        tell("audit_ended", violations=violations, detail=detail)

    async def _claimed(self, due_at: datetime) -> bool:
        connection = await connect(self._database, command_timeout_s=_COMMAND_TIMEOUT_S)
        try:
            return await claim(connection, due_at, process_name(), AGAIN_AFTER)
        finally:
            connection.terminate()

    async def _finish(self, due_at: datetime, violations: int | None, detail: str) -> None:
        connection = await connect(self._database, command_timeout_s=_COMMAND_TIMEOUT_S)
        try:
            await finish(connection, due_at, violations, detail)
        finally:
            connection.terminate()

    async def _audit(self) -> tuple[int | None, str]:
        """Return the number of violations, None if the audit could not be done; and what to say of it."""
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if name not in _OF_THE_PARENT},
        )
        try:
            async with asyncio.timeout(self._within_s):
                told, _ = await child.communicate()
        except TimeoutError:
            return None, f"not done after {self._within_s:g} s"
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        try:
            return _result(json.loads(told))
        except (ValueError, LookupError, TypeError, AttributeError):
            return None, f"the audit ended with exit code {child.returncode}"


def last_instant(at: time, now: datetime) -> datetime:
    """Return the last time that it was this time of day, in UTC."""
    today = datetime.combine(now.astimezone(UTC).date(), at, UTC)
    return today if today <= now else today - _DAY


def _result(report: Mapping[str, Any]) -> tuple[int | None, str]:
    if report["ok"] is None:
        return None, str(report["error"])
    return int(report["violations_total"]), str(report["summary"])

"""What GET /health reports, as metrics: so that an alert tells when it is not ok, and why."""

import asyncio
from contextlib import suppress

from db.errors import REASONS
from db.write_trial import COMMITS_HANG
from gateway.contract.response_models import Health
from gateway.routes.health import HealthReporter, judge
from runtime.tasks import SupervisedTasks
from runtime.telemetry import HEALTH, HEALTH_REASON, start_at_zero

LOOK_S_MAX = 2.5
"""Longest time for which Prometheus waits for a report; a later one is told at its next scrape."""
STATUSES = ("ok", "degraded", "down")
OTHER = "other"
"""Stands for reasons that are not in the list: a label takes few values, and all gateways set the same ones to zero."""


def known_codes() -> list[str]:
    """Return the codes of all reasons that have a label of their own."""
    parts = [f"{part}_{status}" for part in judge([]) for status in ("degraded", "down", "unknown")]
    return [*REASONS, COMMITS_HANG, *parts, "payouts_paused", "withdrawals_late", OTHER]


class HealthGauges:
    """Asks for a report when Prometheus comes: without it, nobody makes trial writes."""

    def __init__(self, tasks: SupervisedTasks, reporter: HealthReporter) -> None:
        self._tasks = tasks
        self._reporter = reporter
        self._asked, self._told = asyncio.Event(), asyncio.Event()
        self._runs = False
        self._codes = frozenset(known_codes())
        start_at_zero(HEALTH, STATUSES)
        start_at_zero(HEALTH_REASON, self._codes)

    async def look(self) -> None:
        """Bring the metrics up to date; wait for at most LOOK_S_MAX."""
        if not self._runs:
            self._runs = True
            self._tasks.start("health-gauges", self._run)
        self._told.clear()
        self._asked.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S_MAX):
                await self._told.wait()

    async def _run(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            self._show(await self._reporter.report())
            self._told.set()

    def _show(self, report: Health) -> None:
        for status in STATUSES:
            HEALTH.labels(status).set(status == report.status)
        given = {reason.code if reason.code in self._codes else OTHER for reason in report.reasons}
        for code in self._codes:
            HEALTH_REASON.labels(code).set(code in given)

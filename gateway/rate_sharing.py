"""Shares the rate limits between gateways: one statement per second tells what our clients did, and learns of others'.

While the database is away, each gateway takes an equal part of the limit.
"""

import asyncio
import time
from collections.abc import Mapping
from uuid import uuid4

import msgspec

from db import rate_reports
from db.connections import Reader, understood
from db.rate_reports import RateReport
from gateway.wire.rate_limits import PERIOD_S, STALE_S, RateLimiter, Report, Usage
from runtime.settings import Settings
from runtime.tasks import SupervisedTask, SupervisedTasks
from runtime.telemetry import RATE_LIMITS_UNSHARED, log
from wallet.errors import TryLater

_decoder = msgspec.json.Decoder(dict[str, dict[str, Usage]])


class RateSharing:
    """Tells the other gateways about our clients, and our limiters about theirs. `limiters` have names."""

    def __init__(
        self, settings: Settings, tasks: SupervisedTasks, limiters: Mapping[str, RateLimiter]
    ) -> None:
        self._tasks = tasks
        self._reader = Reader(settings.database, 1)
        self._limiters = limiters
        self._gateway = uuid4()
        self._shared_at = time.monotonic()
        self._gateways = 1
        """This one, and the others that were there when it last learned of them."""
        self._task: SupervisedTask | None = None

    async def start(self) -> None:
        """Exchange reports, and go on doing so. The database may be away."""
        self._task = self._tasks.start("rate-sharing", self._run)
        try:
            await self._share()
        except TryLater as error:
            log.warning("rate_limits_not_shared", detail=str(error))

    async def stop(self) -> None:
        """Stop, and let the others divide our part."""
        if self._task is not None:
            await self._task.stop()
        try:
            await understood(rate_reports.withdraw, self._reader, self._gateway)
        except TryLater as error:
            log.debug("rate_report_not_withdrawn", detail=str(error))
        self._reader.terminate()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_S)
            try:
                await self._share()
            except TryLater as error:
                self._alone(str(error))

    async def _share(self) -> None:
        """Exchange reports. Raises Unavailable."""
        usage = {name: limiter.report() for name, limiter in self._limiters.items()}
        text = msgspec.json.encode(usage).decode()
        found = await understood(rate_reports.exchange, self._reader, self._gateway, text)
        reports = [(str(report.gateway), report.age_s, _usage(report)) for report in found]
        for name, limiter in self._limiters.items():
            limiter.learn({gateway: Report(age_s, by.get(name, {})) for gateway, age_s, by in reports})
        self._gateways = 1 + len(found)
        self._shared_at = time.monotonic()
        RATE_LIMITS_UNSHARED.set(0)

    def _alone(self, reason: str) -> None:
        log.debug("rate_limits_not_shared", detail=reason)
        if time.monotonic() - self._shared_at > STALE_S:
            RATE_LIMITS_UNSHARED.set(1)
            for limiter in self._limiters.values():
                limiter.fall_back(self._gateways)


def _usage(report: RateReport) -> dict[str, dict[str, Usage]]:
    """Return what a report says, or nothing if it is of a version that we don't know."""
    try:
        return _decoder.decode(report.usage)
    except msgspec.MsgspecError:
        return {}

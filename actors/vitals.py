"""Takes the measures that nobody's request brings about: open money, the database server, disks, audits, backups.

Each reconciler process takes them, whether it leads or not. What can't be measured is NaN, and
`wbs_vitals_unreadable` says so: an alert must not be silent because its measure is missing.
"""

import asyncio
import math
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence

from db.errors import DATABASE_ERRORS
from db.vitals import VitalsSession
from runtime import telemetry
from runtime.telemetry import VITALS_UNREADABLE, WITHDRAWALS_AMOUNT, WITHDRAWALS_OLDEST_SECONDS, log
from runtime.throttle import Throttle

INTERVAL_S = 5.0
SHARE_MAX = 0.05
"""Part of the time that measuring may take: with very many open withdrawals they are counted less often."""
STAGES = ("pending", "processing", "accepted", "requires_attention")


class Vitals:
    """Measures until cancelled. One measure that can't be taken hinders no other."""

    def __init__(self, session: VitalsSession, default_currency: str, folders: Sequence[str]) -> None:
        """Make it; `folders` are those whose disks are watched."""
        self._session = session
        self._folders = folders
        self._currencies = {default_currency}
        self._throttles = {name: Throttle(600) for name in self._measures}
        telemetry.start_at_zero(VITALS_UNREADABLE, self._measures)

    async def run(self) -> None:
        """Measure for ever."""
        try:
            while True:
                started = time.monotonic()
                await self.measure()
                took = time.monotonic() - started
                await asyncio.sleep(max(INTERVAL_S, took / SHARE_MAX))
        finally:
            self._session.terminate()

    async def measure(self) -> None:
        """Take each measure once."""
        for name, take in self._measures.items():
            try:
                await take()
            except (*DATABASE_ERRORS, OSError) as error:
                VITALS_UNREADABLE.labels(name).set(1)
                for gauge in _GAUGES.get(name, ()):
                    gauge.set(math.nan)
                if self._throttles[name].lets_through():
                    log.warning("not_measured", measure=name, error=f"{type(error).__name__}: {error}")
            else:
                VITALS_UNREADABLE.labels(name).set(0)

    @property
    def _measures(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {
            "open_money": self._open_money,
            "events": self._events,
            "webhooks": self._webhooks,
            "connections": self._connections,
            "size": self._size,
            "wal": self._wal,
            "archive": self._archive,
            "replicas": self._replicas,
            "audit": self._audit,
            "backup": self._backup,
            "disks": self._disks,
        }

    async def _open_money(self) -> None:
        found = {(one.stage, one.currency): one for one in await self._session.open_money()}
        self._currencies |= {currency for _, currency in found}
        for stage in STAGES:
            oldest_s = max((one.oldest_s for (of, _), one in found.items() if of == stage), default=0.0)
            WITHDRAWALS_OLDEST_SECONDS.labels(stage).set(oldest_s)
            for currency in self._currencies:
                one = found.get((stage, currency))
                WITHDRAWALS_AMOUNT.labels(stage, currency).set(0 if one is None else one.amount)

    async def _events(self) -> None:
        telemetry.EVENTS_WAITING_SECONDS.set(await self._session.events_waiting_s())

    async def _webhooks(self) -> None:
        for status, number in (await self._session.webhooks()).items():
            telemetry.WEBHOOK_ENDPOINTS.labels(status).set(number)

    async def _connections(self) -> None:
        used, allowed = await self._session.connections()
        telemetry.DATABASE_CONNECTIONS.set(used)
        telemetry.DATABASE_CONNECTIONS_MAX.set(allowed)

    async def _size(self) -> None:
        telemetry.DATABASE_BYTES.set(await self._session.database_bytes())

    async def _wal(self) -> None:
        telemetry.WAL_BYTES.set(await self._session.wal_bytes())

    async def _archive(self) -> None:
        telemetry.WAL_ARCHIVE_AGE_SECONDS.set(await self._session.wal_archive_age_s())

    async def _replicas(self) -> None:
        replicas, lag_bytes = await self._session.replicas()
        telemetry.REPLICAS.set(replicas)
        telemetry.REPLICATION_LAG_BYTES.set(lag_bytes)

    async def _audit(self) -> None:
        last = await self._session.last_audit()
        telemetry.AUDIT_LAST_SUCCESS.set(last.ended_at.timestamp())
        telemetry.AUDIT_VIOLATIONS.set(last.violations)
        telemetry.AUDIT_SECONDS.set(last.seconds)

    async def _backup(self) -> None:
        telemetry.BACKUP_LAST_SUCCESS.set((await self._session.last_backup_at()).timestamp())

    async def _disks(self) -> None:
        for folder in self._folders:
            disk = shutil.disk_usage(folder)
            telemetry.DISK_FREE_BYTES.labels(folder).set(disk.free)
            telemetry.DISK_BYTES.labels(folder).set(disk.total)


_GAUGES = {
    "events": (telemetry.EVENTS_WAITING_SECONDS,),
    "connections": (telemetry.DATABASE_CONNECTIONS, telemetry.DATABASE_CONNECTIONS_MAX),
    "size": (telemetry.DATABASE_BYTES,),
    "wal": (telemetry.WAL_BYTES,),
    "archive": (telemetry.WAL_ARCHIVE_AGE_SECONDS,),
    "replicas": (telemetry.REPLICAS, telemetry.REPLICATION_LAG_BYTES),
}
"""The metrics of a measure that say nothing while it can't be taken."""

"""Measures that are read from the database from time to time: open money, the server itself, audits, backups."""

from datetime import datetime
from typing import Any, NamedTuple

from db.connections import connect
from db.sql import load
from db.strict import one, whole
from runtime.slices import DatabaseSettings

_SQL = load("vitals")
_RUNS = load("audit_runs")
_COMMAND_TIMEOUT_S = 15


class OpenMoney(NamedTuple):
    """The open withdrawals of one currency at one stage: minor units, and the age of the oldest in seconds."""

    stage: str
    currency: str
    amount: float
    oldest_s: float


class LastAudit(NamedTuple):
    """The last complete audit; before the first one, since when audits are recorded."""

    ended_at: datetime
    violations: int
    seconds: float


class VitalsSession:
    """A connection of its own, reopened after it breaks. Methods raise `db.errors.DATABASE_ERRORS`."""

    def __init__(self, database: DatabaseSettings) -> None:
        self._database = database
        self._connection: Any = None

    async def open_money(self) -> list[OpenMoney]:
        """Return the money that open withdrawals hold."""
        rows = await (await self._open()).fetch(_SQL["open_withdrawals"])
        return [OpenMoney(*row) for row in map(whole, rows)]

    async def events_waiting_s(self) -> float:
        """Return the seconds for which the oldest batch of events has waited for its numbers; 0 if none waits."""
        return float((await self._one(_SQL["events_waiting"]))["age_s"])

    async def webhooks(self) -> dict[str, int]:
        """Return the number of webhooks, by status."""
        return dict(await self._one(_SQL["webhooks"]))

    async def connections(self) -> tuple[int, int]:
        """Return the number of sessions of the server, and the number that our roles may have."""
        row = await self._one(_SQL["connections"])
        return row["used"], row["allowed"]

    async def database_bytes(self) -> int:
        """Return the size of our database."""
        return int((await self._one(_SQL["size"]))["bytes"])

    async def wal_bytes(self) -> int:
        """Return the size of the WAL that the server keeps."""
        return int((await self._one(_SQL["wal"]))["bytes"])

    async def wal_archive_age_s(self) -> float:
        """Return the seconds since a WAL file was archived; 0 if none is to be."""
        return float((await self._one(_SQL["archive"]))["age_s"])

    async def replicas(self) -> tuple[int, float]:
        """Return the number of standby servers, and the bytes of WAL that the slowest has not replayed."""
        row = await self._one(_SQL["replicas"])
        return row["replicas"], row["lag_bytes"]

    async def last_audit(self) -> LastAudit:
        """Return the last complete audit."""
        return LastAudit(*await self._one(_RUNS["last"]))

    async def last_backup_at(self) -> datetime:
        """Return when the last recorded backup was taken; before the first one, since when they are recorded."""
        taken_at: datetime = (await self._one(_RUNS["last_backup"]))["taken_at"]
        return taken_at

    def terminate(self) -> None:
        """Close the connection at once."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _one(self, query: str) -> Any:
        return one(await (await self._open()).fetch(query))

    async def _open(self) -> Any:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._database, command_timeout_s=_COMMAND_TIMEOUT_S)
        return self._connection

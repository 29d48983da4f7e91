"""The record of audits and backups: of several reconcilers one audits, and Prometheus learns of the last of each."""

from datetime import datetime, timedelta
from typing import Any

from db.sql import load
from db.strict import at_most_one, require_tag

_SQL = load("audit_runs")
_DETAIL_LENGTH_MAX = 2_000


async def claim(connection: Any, due_at: datetime, by: str, again_after: timedelta) -> bool:
    """Return whether this process is to do the audit that is due at this instant.

    One that was begun and is not complete after `again_after` is to be done again.
    """
    return at_most_one(await connection.fetch(_SQL["claim"], due_at, by, again_after)) is not None


async def finish(connection: Any, due_at: datetime, violations: int | None, detail: str) -> None:
    """Record the end of a claimed audit. `violations` is None if it could not be done."""
    require_tag(
        await connection.execute(_SQL["finish"], due_at, violations, detail[:_DETAIL_LENGTH_MAX]), "UPDATE 1"
    )


async def record(connection: Any, started_at: datetime, violations: int, detail: str, by: str) -> None:
    """Record an audit that somebody did by hand."""
    require_tag(
        await connection.execute(_SQL["record"], started_at, violations, detail[:_DETAIL_LENGTH_MAX], by),
        "INSERT 0 1",
    )


async def record_backup(connection: Any, taken_at: datetime, place: str, by: str) -> None:
    """Record a backup that restores to the instant `taken_at`."""
    require_tag(await connection.execute(_SQL["record_backup"], taken_at, place, by), "INSERT 0 1")

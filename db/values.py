"""Values as the database has them, for those who tell them on."""

from datetime import UTC, datetime

import msgspec


def raw_json(text: str | None) -> msgspec.Raw | None:
    """Return kept JSON text as a value that is encoded unchanged."""
    return None if text is None else msgspec.Raw(text.encode())


def with_zone(instant: datetime | None) -> datetime | None:
    """Return the instant with a zone: asyncpg returns the last one of 9999 without."""
    return instant.replace(tzinfo=UTC) if instant and instant.tzinfo is None else instant

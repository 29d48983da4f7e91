"""Brings the schema up to date: plain SQL files in db/migrations, applied by pogo-migrate, each in a transaction.

Gateways of the version before may still be writing then. What their rows lack is filled in each time.
"""

from pathlib import Path

import asyncpg
from pogo_core.util import migrate as pogo

MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 0x77_62_73  # "wbs": one migration at a time, however many start at once


async def migrate(database_url: str) -> None:
    """Apply what is missing. Raises pogo_core.error.BadMigrationError, naming the migration at fault."""
    connection = await asyncpg.connect(database_url, timeout=10)
    try:
        await connection.execute("select pg_advisory_lock($1)", _LOCK)
        await pogo.apply(connection, MIGRATIONS, schema_name="public")
        await connection.execute("select fill_splits()")
    finally:
        await connection.close(timeout=5)

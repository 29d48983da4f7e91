"""Brings the schema up to date: pogo-migrate applies the plain SQL files in db/migrations, each in a transaction.

Gateways of the previous version may still be writing. Each run fills in the columns that their rows lack,
and grants anew what `db.roles` says.
"""

from pathlib import Path

from pogo_core.util import migrate as pogo

from db.granting import grant
from db.watch import watched_session

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK_TIMEOUT_S = 120
"""Longest wait for another process's migration to end."""
_LOCK = 0x77_62_73  # "wbs": one migration at a time, however many start at once


async def migrate(database_url: str) -> None:
    """Apply the missing migrations.

    Raises pogo_core.error.BadMigrationError, naming the migration at fault, or asyncpg's errors: LockNotAvailableError
    if another migration takes too long, TimeoutError if the server is silent.
    """
    async with watched_session(database_url) as connection:
        await connection.execute(f"set lock_timeout = '{LOCK_TIMEOUT_S}s'")
        await connection.execute("select pg_advisory_lock($1)", _LOCK)
        await connection.execute("reset lock_timeout")
        await pogo.apply(connection, MIGRATIONS, schema_name="public")
        async with connection.transaction():
            # The owner of the tables lacks this right, too, at all other times.
            await connection.execute("grant update on transfers to current_user")
            await connection.execute("select fill_splits()")
            await grant(connection)

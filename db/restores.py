"""What a restore needs of PostgreSQL beside `pg_restore`: is there room for the books, and one database for another."""

from typing import Any

from db import stack
from db.sql import load
from db.strict import one
from db.watch import watched_session

_SQL = load("restores")


async def holds_books(database_url: str) -> bool:
    """Tell whether a database holds our tables. Raises one of DATABASE_ERRORS."""
    async with watched_session(database_url) as connection:
        return bool(one(await connection.fetch(_SQL["holds_books"]))["holds_books"])


async def create(administrator_url: str, name: str) -> None:
    """Make an empty database, instead of one of that name which an earlier restore has left half done."""
    async with watched_session(administrator_url) as connection:
        await connection.execute(f"drop database if exists {_quoted(name)}")
        await connection.execute(f"create database {_quoted(name)}")


async def begin_new_history(database_url: str, reason: str) -> None:
    """Pause payouts in restored books: the bank may have paid what they don't know."""
    async with watched_session(database_url) as connection:
        await stack.pause_by_itself(connection, reason, history_lost=True)


async def replace(administrator_url: str, name: str, by: str, kept_as: str) -> None:
    """Rename two databases at once: `by` becomes `name`, and what was `name` is `kept_as`. Their sessions end.

    `administrator_url` names another database of the server.
    """
    async with watched_session(administrator_url) as connection:
        await connection.execute(_SQL["end_sessions"], [name, by])
        async with connection.transaction():
            await connection.execute(f"alter database {_quoted(name)} rename to {_quoted(kept_as)}")
            await connection.execute(f"alter database {_quoted(by)} rename to {_quoted(name)}")


def _quoted(name: Any) -> str:
    return '"' + str(name).replace('"', '""') + '"'

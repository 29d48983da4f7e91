"""Migrations: from nothing to the whole schema, back, and again; by many processes at once."""

import asyncio
import re
from collections.abc import AsyncIterator

import asyncpg
import pytest_asyncio
from pogo_core.util import migrate as pogo

from db.migrate import MIGRATIONS, migrate
from tests.integration.db.schema import describe


@pytest_asyncio.fixture
async def empty(empty_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database in which nothing was migrated yet."""
    connection = await asyncpg.connect(empty_database_url, timeout=10)
    yield connection
    await connection.close(timeout=10)


async def test_from_empty(
    empty: asyncpg.Connection, empty_database_url: str, connection: asyncpg.Connection
) -> None:
    """Goal: an empty database comes to the same schema as the one all other tests use."""
    assert await describe(empty) == ""
    await migrate(empty_database_url)
    schema = await describe(empty)
    assert schema == await describe(connection)
    for table in ("wallets", "transfers", "withdrawals", "withdrawal_history", "idempotency_keys", "outbox"):
        assert f"'{table}'" in schema


async def test_a_second_time_changes_nothing(empty: asyncpg.Connection, empty_database_url: str) -> None:
    """Goal: `wbs migrate` on an up-to-date database does nothing."""
    await migrate(empty_database_url)
    schema = await describe(empty)
    await migrate(empty_database_url)
    assert await describe(empty) == schema


async def test_many_at_once(empty: asyncpg.Connection, empty_database_url: str) -> None:
    """Goal: processes that start together migrate once between them, and none fails."""
    await asyncio.gather(*(migrate(empty_database_url) for _ in range(5)))
    assert "wallets" in await describe(empty)


async def test_rollback_and_apply_again(empty: asyncpg.Connection, empty_database_url: str) -> None:
    """Goal: the rollback removes everything, and applying again gives the same schema: nothing is left out."""
    await migrate(empty_database_url)
    schema = await describe(empty)
    await pogo.rollback(empty, MIGRATIONS, schema_name="public")
    assert await describe(empty) == ""
    await migrate(empty_database_url)
    assert await describe(empty) == schema


async def test_money_tables_can_be_distributed(connection: asyncpg.Connection) -> None:
    """Goal: every unique key holds user_id (idempotency keys apart), as a distributed database wants."""
    rows = await connection.fetch(
        "select tablename, indexdef from pg_indexes where schemaname = 'public' and indexdef ~ 'UNIQUE'"
    )
    # No money, or distributed by key.
    ours = {
        "heartbeats",
        "bank_cursor",
        "idempotency_keys",
        "stack",
        "leases",
        "write_trials",
        "adjustment_proposals",
        "rate_reports",
        "events",
        "event_batches",
        "event_sequence",
        "webhook_endpoints",
        "webhook_deliveries",
        "webhook_parked",
        "webhook_turns",
        "api_keys",
        "api_keys_revision",
        "operator_actions",
        "activity",
        "discrepancies",
        "audit_runs",
        "backups",
        "archives",
        "archive_files",
    }
    for row in rows:
        if row["tablename"] not in ours and "pogo" not in row["tablename"]:
            assert "user_id" in row["indexdef"], row["indexdef"]
    assert any(row["tablename"] == "transfers" for row in rows)


async def test_keys_compare_bytewise(connection: asyncpg.Connection) -> None:
    """Goal: all processes sort what they lock as Python sorts it, so texts in keys have collation C."""
    rows = await connection.fetch(
        "select table_name, column_name, collation_name from information_schema.columns"
        " where table_schema = 'public' and column_name in ('user_id', 'currency', 'client', 'key')"
    )
    found = {(row["table_name"], row["column_name"]): row["collation_name"] for row in rows}
    assert set(found.values()) == {"C"}


def test_files_say_what_they_do() -> None:
    """Goal: each migration has both directions, and their names sort in the order they were written."""
    files = sorted(MIGRATIONS.glob("*.sql"))
    assert files
    for file in files:
        assert re.fullmatch(r"\d{8}_\d{2}_[a-z_]+\.sql", file.name)
        text = file.read_text(encoding="utf-8")
        assert "-- migrate: apply" in text
        assert "-- migrate: rollback" in text

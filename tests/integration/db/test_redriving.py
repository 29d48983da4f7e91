"""Announcing withdrawals again while another session holds some rows: those are passed over, the others announced."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest_asyncio

from db.ledger import Ledger
from db.outbox import Outbox
from db.reconciliation import ReconcilerSession
from runtime.settings import Settings
from tests.integration.db.conftest import accepted, charge, withdraw


@pytest_asyncio.fixture
async def session(make_settings: Callable[..., Settings]) -> AsyncIterator[ReconcilerSession]:
    """A reconciler that leads and soon gives up waiting for a lock."""
    session = ReconcilerSession(make_settings(WBS_LOCK_TIMEOUT_MS="200", WBS_REDRIVE_AFTER_MS="60000"))
    assert await session.lead()
    yield session
    await session.close()


@pytest_asyncio.fixture
async def due(ledger: Ledger, connection: asyncpg.Connection) -> list[UUID]:
    """Five withdrawals that should have been taken long ago, and no message waits."""
    await ledger.submit(charge(100))
    ids = [await accepted(ledger, withdraw(1)) for _ in range(5)]
    await connection.execute("delete from outbox")
    await connection.execute("update withdrawals set ring_at = now() - interval '1 minute'")
    return ids


async def announced(connection: asyncpg.Connection) -> set[UUID]:
    """Whose messages wait in the outbox, as everybody sees it."""
    return {row["withdrawal_id"] for row in await connection.fetch("select withdrawal_id from outbox")}


async def test_a_locked_withdrawal_is_passed_over(
    session: ReconcilerSession, due: list[UUID], connection: asyncpg.Connection, database_url: str
) -> None:
    """Goal: if another session holds the row of one withdrawal, the others are announced at once, and it afterwards."""
    holder = await asyncpg.connect(database_url, timeout=10)
    async with holder.transaction():
        await holder.execute("select from withdrawals where id = $1 for update", due[0])
        assert await session.redrive_due(100) == 4
        assert await announced(connection) == set(due[1:])
    assert await session.redrive_due(100) == 1
    await holder.close(timeout=10)


async def test_an_uncommitted_message_stops_nobody(
    session: ReconcilerSession, due: list[UUID], connection: asyncpg.Connection, database_url: str
) -> None:
    """Goal: if another session has an uncommitted message, the others are announced, and the next beat is quick."""
    holder = await asyncpg.connect(database_url, timeout=10)
    async with holder.transaction():
        await holder.execute("insert into outbox values ('ann', $1, now())", due[0])
        assert await session.redrive_due(100) == 4
        assert await announced(connection) == set(due[1:])
        assert await session.redrive_due(100) == 0
    await holder.close(timeout=10)


async def test_what_could_not_be_announced_is_due_soon(
    session: ReconcilerSession, due: list[UUID], connection: asyncpg.Connection, database_url: str
) -> None:
    """Goal: an old withdrawal that met a lock waits for one interval (60 s here), not for its own age once more."""
    await connection.execute("update withdrawals set updated_at = now() - interval '10 minutes'")
    holder = await asyncpg.connect(database_url, timeout=10)
    async with holder.transaction():
        await holder.execute("insert into outbox values ('ann', $1, now())", due[0])
        assert await session.redrive_due(100) == 4
    await holder.close(timeout=10)
    latest = await connection.fetchval("select max(ring_at) - now() from withdrawals where id = $1", due[0])
    assert latest <= timedelta(seconds=60)


async def test_a_relay_that_does_not_commit_stops_nobody(
    session: ReconcilerSession, due: list[UUID], connection: asyncpg.Connection, settings: Settings
) -> None:
    """Goal: a relay has published and deleted a message, and is frozen before it commits: the others are announced."""
    relay = Outbox(settings.database)
    await relay.open(on_notify=lambda: None)
    await connection.execute("insert into outbox values ('ann', $1, now())", due[0])
    async with relay.claim(10) as messages:
        await relay.published(messages)
        assert await session.redrive_due(100) == 4
        assert await announced(connection) == set(due), "its message is still to be seen"
    await relay.close()

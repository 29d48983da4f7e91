"""Locked money in tests: it matures when a test says so, and not while a slow machine is still preparing the test."""

from datetime import UTC, datetime, timedelta

import asyncpg

from wallet.commands import Charge

EARLIER = timedelta(days=1)
"""So much earlier than was asked for is the `release_at` of a lock that `mature` has opened."""

_MATURE = """
with due as (
    select charge_id from locks where release_at > now() and release_at - $1::interval <= now()
    order by release_at, charge_id limit $2
), charges as (
    update transfers set release_at = release_at - $1::interval
    where id in (select charge_id from due)
    returning id, user_id, currency, amount, release_at, metadata
), opened as (
    update locks set release_at = release_at - $1::interval
    where charge_id in (select charge_id from due)
)
select k.client, k.key, c.user_id, c.currency, c.amount, c.release_at, c.metadata
from charges as c join idempotency_keys as k on k.movement_id = c.id
"""

_ASKED_FOR = "update idempotency_keys set fingerprint = $3 where client = $1 and key = $2"


def in_an_hour() -> datetime:
    """Return the `release_at` of a lock that `mature` opens."""
    return datetime.now(UTC) + timedelta(hours=1)


def in_a_month() -> datetime:
    """Return the `release_at` of a lock that stays."""
    return datetime.now(UTC) + timedelta(days=30)


async def mature(connection: asyncpg.Connection, limit: int | None = None) -> None:
    """Let locks of the next 24 hours mature, the first `limit` of them: as if asked for a day earlier."""
    async with connection.transaction():
        await connection.execute("set local session_replication_role = replica")  # transfers are append-only
        for row in await connection.fetch(_MATURE, EARLIER, limit):
            request = Charge(*row)
            await connection.execute(_ASKED_FOR, request.space, request.key, request.fingerprint())

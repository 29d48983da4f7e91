"""Locked money in tests: it matures when a test says so, and not while a slow machine is still preparing the test."""

from datetime import UTC, datetime, timedelta

import asyncpg

from wallet.commands import Charge, Leg, MakeTransfer, PlaceHold

EARLIER = timedelta(days=1)
"""So much earlier than was asked for is the `release_at` of a lock that `mature` has opened."""

_MATURE = """
with due as (
    select charge_id from locks where release_at > now() and release_at - $1::interval <= now()
    order by release_at, charge_id limit $2
), movements as (
    update transfers set release_at = release_at - $1::interval
    where id in (select charge_id from due) and release_at is not null
), legs as (
    update transfer_legs set release_at = release_at - $1::interval
    where receive_id in (select charge_id from due)
    returning transfer_id
), expired as (
    update holds set expires_at = expires_at - $1::interval
    where id in (select charge_id from due)
), opened as (
    update locks set release_at = release_at - $1::interval
    where charge_id in (select charge_id from due)
)
select charge_id as id from due union select transfer_id from legs
"""

_REQUESTS = """
select t.kind, k.client, k.key, t.user_id, t.currency, t.amount, coalesce(h.expires_at, t.release_at) as until,
    coalesce(h.metadata, t.metadata) as metadata,
    array(select (to_user_id, amount, release_at) from transfer_legs where transfer_id = t.id order by leg) as legs
from transfers as t
join idempotency_keys as k on k.movement_id = t.id
left join holds as h on h.id = t.id
where t.id = any($1)
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
        ids = [row["id"] for row in await connection.fetch(_MATURE, EARLIER, limit)]
        for row in await connection.fetch(_REQUESTS, ids):
            request = _request(row)
            if request is not None:
                await connection.execute(_ASKED_FOR, request.space, request.key, request.fingerprint())


def _request(row: asyncpg.Record) -> Charge | PlaceHold | MakeTransfer | None:
    """Return the request that a movement was made for, as it would have been sent for the earlier instant."""
    kind, space, key, user, currency, amount, until, metadata, legs = row
    if kind == "charge":
        return Charge(space, key, user, currency, amount, until, metadata)
    if kind == "hold":
        return PlaceHold(space, key, user, currency, amount, until, metadata)
    if kind == "send":
        return MakeTransfer(space, key, user, currency, amount, tuple(Leg(*leg) for leg in legs), metadata)
    return None

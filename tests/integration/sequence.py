"""The sequence of events as it has to be, read from the database."""

from typing import Any
from uuid import UUID

import asyncpg

from db import events
from db.connections import Reader
from wallet.events import Event


async def told(reader: Reader, **which: Any) -> list[Event]:
    """Return all events, read page by page."""
    found: list[Event] = []
    after = 0
    while True:
        page = await events.page(reader, after, 7, **which)
        found += page.events
        if page.looked_to == after:
            return found
        after = page.looked_to


async def require_order(connection: asyncpg.Connection, found: list[Event]) -> None:
    """Assert that there is no gap, and the order of each wallet's rows and of each withdrawal's history."""
    assert [event.seq for event in found] == list(range(1, len(found) + 1))
    assert len({event.body.id for event in found}) == len(found)
    rows = await connection.fetch(
        "select u.id, u.user_id, u.currency from events as e, unnest("
        "e.ids, e.user_ids, e.currencies, e.types) with ordinality as u (id, user_id, currency, type, place) "
        "where u.type not in ('withdrawal.processing', 'withdrawal.requires_attention') "
        "and (u.type not like 'withdrawal.%' or u.type = 'withdrawal.pending') order by e.first_seq, u.place"
    )
    last: dict[tuple[str, str], UUID] = {}
    for id, *wallet in rows:
        assert last.get(tuple(wallet), id) <= id, wallet
        last[tuple(wallet)] = id
    moves: dict[UUID, list[str]] = {}
    for event in found:
        if event.type.startswith("withdrawal."):
            moves.setdefault(event.body.object.withdrawal_id, []).append(event.type.partition(".")[2])
    for id, statuses in moves.items():
        history = await connection.fetch(
            "select status from withdrawal_history where withdrawal_id = $1 and status <> 'pending' order by seq",
            id,
        )
        assert statuses == ["pending", *(row["status"] for row in history)]

"""The split at any instant of the past, and statements: what random histories of the real writers must give."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from db import statements
from db.connections import Reader, connect
from db.ledger import Ledger
from db.releases import release_matured
from db.statements import Entry, Split
from db.withdrawals import Withdrawals
from runtime.settings import Settings
from tests.integration.db.conftest import charge
from tests.integration.db.histories import USERS, History, model_of
from tests.polling import poll_until
from wallet.positions import Position, position_after, position_at

MICROSECOND = timedelta(microseconds=1)
BEGINNING = datetime(2020, 1, 1, tzinfo=UTC)


async def split(reader: Reader, user: str, position: Position) -> Split:
    """Return the split at a position."""
    return await statements.split(reader, (user, "USD"), position) or Split()


async def split_at(reader: Reader, user: str, instant: datetime) -> Split:
    """Return the split after all that counts up to an instant."""
    return await split(reader, user, position_at(instant + MICROSECOND))


async def statement(
    reader: Reader, user: str, start: datetime, end: datetime, limit: int
) -> tuple[Split, list[Entry]]:
    """Return the closing split and all entries, page by page."""
    position = position_at(start)
    so_far = await split(reader, user, position)
    found: list[Entry] = []
    while True:
        assert await split(reader, user, position) == so_far
        page = await statements.entries(reader, (user, "USD"), position, end, so_far, limit)
        assert len(page.items) <= limit
        found += page.items
        so_far = page.closing
        if page.last is None:
            return so_far, found
        position = position_after(*page.last)


@pytest.mark.parametrize("seed", range(4))
async def test_splits_and_statements_of_random_histories(
    ledger: Ledger,
    withdrawals: Withdrawals,
    reader: Reader,
    settings: Settings,
    connection: asyncpg.Connection,
    seed: int,
) -> None:
    """Goal: at any instant the split is the model's, whenever it was asked; statements add up, and never change."""
    chance = random.Random(seed)
    releasing = await connect(settings.database)
    history = History(ledger, withdrawals, releasing, seed)
    asked: list[tuple[str, datetime, Split]] = []
    stated: list[tuple[str, datetime, list[Entry]]] = []

    async def go_on(steps: int) -> None:
        for _ in range(steps):
            await history.step()
            await history.pause()

    async def ask() -> None:
        for _ in range(60):
            user = chance.choice(USERS)
            now = await statements.settled(reader, (user, "USD"))
            instant = now - MICROSECOND - timedelta(seconds=chance.choice((0, 0, 0.01, 0.2, 0.5)))
            asked.append((user, instant, await split_at(reader, user, instant)))
            if chance.random() < 0.2:
                stated.append((user, instant, (await statement(reader, user, BEGINNING, instant, 1000))[1]))
            await history.pause()

    await asyncio.gather(go_on(80), go_on(40), ask())
    nows = {user: await statements.settled(reader, (user, "USD")) for user in USERS}
    for is_written in (False, True):
        if is_written:
            while await release_matured(releasing):
                pass
        for user in USERS:
            model = await model_of(connection, user)
            now = nows[user]
            instants = [at + by for at in model.instants for by in (-MICROSECOND, timedelta(0), MICROSECOND)]
            instants = [at for at in instants if at < now]
            for instant in chance.sample(instants, min(len(instants), 120)):
                assert await split_at(reader, user, instant) == model.at(instant), (user, instant)
            for limit in (1, 7, 100):
                start, end = sorted(chance.sample([BEGINNING, *instants, now], 2))
                closing, entries = await statement(reader, user, start, end, limit)
                expected = model.at(start - MICROSECOND)
                for entry in entries:
                    expected = expected.plus(entry.effect)
                    assert entry.after == expected
                assert expected == closing == model.at(end - MICROSECOND)
                assert len({entry.id for entry in entries}) == len(entries)
                assert all(start <= entry.created_at < end for entry in entries)
            for whose, instant, answer in asked:
                if whose == user:
                    assert model.at(instant) == answer, (user, instant, is_written)
            for whose, instant, entries in stated:
                if whose == user:
                    assert (await statement(reader, user, BEGINNING, instant, 100))[1] == entries
    await releasing.close(timeout=5)


async def test_who_is_writing_is_waited_for(
    ledger: Ledger, reader: Reader, connection: asyncpg.Connection
) -> None:
    """Goal: the present is not told while somebody writes, who may have an earlier instant."""
    await ledger.submit(charge(5))
    async with connection.transaction():
        await connection.execute("update wallets set available = available where user_id = 'ann'")
        written = await connection.fetchval("select clock_timestamp()")
        asking = asyncio.ensure_future(statements.settled(reader, ("ann", "USD")))
        assert await statements.settled(reader, ("bob", "USD")) > written, "others are not waited for"
        assert not asking.done()
    assert await asking > written


async def test_who_creates_the_wallet_meanwhile_is_waited_for(
    reader: Reader, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: a wallet that is not there at first is written to before the present is told: that is waited for, too."""
    fetch = reader.fetch
    writing = connection.transaction()

    async def fetch_before_it_comes(query: str, *arguments: Any) -> list[Any]:
        rows = await fetch(query, *arguments)
        monkeypatch.undo()
        await connection.execute("insert into wallets (user_id, currency) values ('ann', 'USD')")
        await writing.start()
        await connection.execute("update wallets set last_at = clock_timestamp()")
        return rows

    monkeypatch.setattr(reader, "fetch", fetch_before_it_comes)
    asking = asyncio.ensure_future(statements.settled(reader, ("ann", "USD")))

    async def is_waiting() -> bool:
        return asking.done() or bool(await fetch("select 1 from pg_locks where not granted"))

    await poll_until(is_waiting)
    assert not asking.done()
    written = await connection.fetchval("select last_at from wallets")
    await writing.commit()
    assert await asking > written


async def test_nobody_has_no_entries(reader: Reader) -> None:
    """Goal: an unknown wallet has zeros and no entries."""
    now = await statements.settled(reader, ("nobody", "USD"))
    assert await statement(reader, "nobody", BEGINNING, now, 10) == (Split(), [])


async def test_many_late_releases(ledger: Ledger, reader: Reader, connection: asyncpg.Connection) -> None:
    """Goal: releases are found however many were written late, and an instant between them is told apart."""
    now: datetime = await connection.fetchval("select clock_timestamp()")
    ends = [now + timedelta(seconds=1, milliseconds=n) for n in range(150)]
    await asyncio.gather(*(ledger.submit(charge(1, release_at=end)) for end in ends))

    async def are_over() -> bool:
        return bool(await connection.fetchval("select clock_timestamp() > $1", ends[-1]))

    await poll_until(are_over)
    while await release_matured(connection):
        pass
    for n in (0, 1, 60, 149):
        assert await split_at(reader, "ann", ends[n]) == Split(n + 1, 149 - n, 0)
        assert await split_at(reader, "ann", ends[n] - MICROSECOND) == Split(n, 150 - n, 0)
    ids: set[UUID] = {entry.id for entry in (await statement(reader, "ann", ends[0], ends[-1], 40))[1]}
    assert len(ids) == 149

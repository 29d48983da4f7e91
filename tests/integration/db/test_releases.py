"""Locked money: withdrawable from its very instant, whether or not anything runs in the background."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from db.books import MATURED_MAX
from db.ledger import Ledger
from db.pool import Reader, connect
from db.reconciliation import ReconcilerSession
from db.releases import release_matured
from tests.integration.db.conftest import accepted, answers, charge, split, withdraw
from tests.locks import in_a_month, in_an_hour, mature
from tests.polling import poll_until
from wallet.config import Settings
from wallet.errors import InsufficientFunds

BooksHold = Callable[[], Awaitable[dict[str, int]]]


async def matured(reader: Reader) -> bool:
    """Tell whether nothing is locked any more."""
    return (await split(reader))[1] == 0


async def locked_in_books(connection: asyncpg.Connection) -> int:
    """Return what stands in `locked` in the books, matured or not."""
    total: int = await connection.fetchval("select coalesce(sum(locked), 0)::bigint from wallets")
    return total


async def test_matured_without_any_job(
    ledger: Ledger, reader: Reader, connection: asyncpg.Connection, books_hold: BooksHold
) -> None:
    """Goal: with nothing in the background, matured money is read as withdrawable and can be withdrawn."""
    at = datetime.now(UTC) + timedelta(seconds=5)
    await ledger.submit(charge(70, release_at=at))
    assert await split(reader) == (0, 70, 0)
    with pytest.raises(InsufficientFunds):
        await ledger.submit(withdraw(1))
    await poll_until(lambda: matured(reader))
    assert await connection.fetchval("select clock_timestamp()") >= at
    assert await locked_in_books(connection) == 70, "nothing in the background has run"
    await ledger.submit(withdraw(70))
    assert await split(reader) == (0, 0, 70)
    assert await connection.fetchval("select count(*) from locks") == 0
    await books_hold()


async def test_only_what_has_matured(
    ledger: Ledger, reader: Reader, connection: asyncpg.Connection, books_hold: BooksHold
) -> None:
    """Goal: of several locks those whose time has come count, the others stay locked."""
    await asyncio.gather(
        ledger.submit(charge(5)),
        ledger.submit(charge(10, release_at=in_an_hour())),
        ledger.submit(charge(20, release_at=in_a_month())),
    )
    assert await split(reader) == (5, 30, 0)
    await mature(connection)
    assert await split(reader) == (15, 20, 0)
    with pytest.raises(InsufficientFunds) as refusal:
        await ledger.submit(withdraw(16))
    assert refusal.value.withdrawable == 15
    await ledger.submit(withdraw(15))
    assert await split(reader) == (0, 20, 15)
    await books_hold()


async def test_2000_matured_locks(
    ledger: Ledger, reader: Reader, connection: asyncpg.Connection, books_hold: BooksHold
) -> None:
    """Goal: more matured locks than one transaction releases: a withdrawal of all of them is still accepted."""
    count = 2000
    assert count > 2 * MATURED_MAX
    at = in_an_hour()
    await asyncio.gather(*(ledger.submit(charge(1, release_at=at)) for _ in range(count)))
    assert await split(reader) == (0, count, 0)
    await mature(connection)
    assert await split(reader) == (count, 0, 0)
    assert await locked_in_books(connection) == count
    with pytest.raises(InsufficientFunds) as refusal:
        await ledger.submit(withdraw(count + 1))
    assert refusal.value.withdrawable == count
    await ledger.submit(withdraw(count))
    assert await split(reader) == (0, 0, count)
    assert (await books_hold())["transfers"] == 2 * count + 1


async def test_a_small_withdrawal_of_many_matured_locks(
    ledger: Ledger, reader: Reader, connection: asyncpg.Connection, books_hold: BooksHold
) -> None:
    """Goal: a withdrawal that part of the matured locks can pay releases a bounded number of them."""
    at = in_an_hour()
    await asyncio.gather(*(ledger.submit(charge(1, release_at=at)) for _ in range(MATURED_MAX + 100)))
    await mature(connection)
    await ledger.submit(withdraw(10))
    assert await connection.fetchval("select count(*) from transfers where kind = 'release'") == MATURED_MAX
    assert await split(reader) == (MATURED_MAX + 90, 0, 10)
    await books_hold()


async def test_the_background_releases(
    settings: Settings, ledger: Ledger, reader: Reader, connection: asyncpg.Connection, books_hold: BooksHold
) -> None:
    """Goal: the reconciler writes releases of many wallets, changes no balance that is read, and ends."""
    at = in_an_hour()
    users = [f"u{n}" for n in range(30)]
    await asyncio.gather(
        *(ledger.submit(charge(2, user=user, release_at=at)) for user in users for _ in range(3))
    )
    await ledger.submit(charge(2, user="later", release_at=in_a_month()))
    session = ReconcilerSession(settings)
    assert await session.lead()
    await mature(connection)
    before = [await split(reader, user) for user in users]
    released = 0
    while count := await session.release_matured():
        released += count
    assert released == 90
    assert [await split(reader, user) for user in users] == before == [(6, 0, 0)] * 30
    assert await locked_in_books(connection) == 2
    assert await connection.fetchval("select count(*) from locks") == 1
    assert (await books_hold())["transfers"] == 91 + 90
    await session.close()


async def test_the_background_races_with_withdrawals(
    settings: Settings, ledger: Ledger, reader: Reader, connection: asyncpg.Connection, books_hold: BooksHold
) -> None:
    """Goal: releases by two reconcilers and by withdrawals at once: each lock is released once, all is spent."""
    at = in_an_hour()
    users = [f"u{n}" for n in range(5)]
    await asyncio.gather(
        *(ledger.submit(charge(1, user=user, release_at=at)) for user in users for _ in range(60))
    )
    await mature(connection)

    async def background() -> None:
        releasing = await connect(settings)
        while await release_matured(releasing, wallets_max=2):
            pass
        await releasing.close(timeout=5)

    withdrawals = [ledger.submit(withdraw(3, user=user)) for _ in range(25) for user in users]
    *_, results = await asyncio.gather(
        background(), background(), asyncio.gather(*withdrawals, return_exceptions=True)
    )
    assert answers(results) == {"new": 100, "InsufficientFunds": 25}
    for user in users:
        assert await split(reader, user) == (0, 0, 60)
    await books_hold()


async def test_a_lock_matures_between_two_withdrawals_of_one_batch(
    ledger: Ledger, reader: Reader, connection: asyncpg.Connection, books_hold: BooksHold
) -> None:
    """Goal: while locks mature, withdrawals sent all the time are accepted for exactly what there is."""
    at = in_an_hour()
    await asyncio.gather(*(ledger.submit(charge(1, release_at=at)) for _ in range(20)))

    async def one_after_the_other() -> None:
        for _ in range(20):
            await mature(connection, 1)

    taken = 0
    async with asyncio.TaskGroup() as group:
        group.create_task(one_after_the_other())
        while taken < 20:
            results = await asyncio.gather(
                *(ledger.submit(withdraw(1)) for _ in range(3)), return_exceptions=True
            )
            taken += answers(results).get("new", 0)
            withdrawable, locked, held = await split(reader)
            assert (withdrawable + locked + held, held) == (20, taken)
    with pytest.raises(InsufficientFunds):
        await accepted(ledger, withdraw(1))
    await books_hold()

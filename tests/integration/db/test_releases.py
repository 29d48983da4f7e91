"""Locked money: withdrawable from its very instant, whether or not anything runs in the background."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from db.connections import Reader, connect
from db.ledger import Ledger
from db.ledger_writes import MATURED_MAX
from db.reconciliation import ReconcilerSession
from db.releases import WAITING_MAX, release_matured, release_oldest
from runtime.settings import Settings
from tests.integration.db.conftest import accepted, answers, charge, split, withdraw
from tests.locks import in_a_month, in_an_hour, mature
from tests.polling import poll_until
from wallet.commands import Withdraw
from wallet.errors import InsufficientFunds, TryLater, Unavailable
from wallet.ledger import MaturedLock, Transfer, Wallet

BooksHold = Callable[[], Awaitable[dict[str, int]]]


async def matured(reader: Reader) -> bool:
    """Tell whether nothing is locked any more."""
    return (await split(reader))[1] == 0


async def locked_in_books(connection: asyncpg.Connection) -> int:
    """Return the `locked` balance in the ledger, matured or not."""
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
    """Goal: a withdrawal that part of the matured locks can pay releases as many as it needs, the oldest, no more."""
    at = in_an_hour()
    await asyncio.gather(*(ledger.submit(charge(1, release_at=at)) for _ in range(MATURED_MAX + 100)))
    await mature(connection)
    await ledger.submit(withdraw(10))
    assert await connection.fetchval("select count(*) from transfers where kind = 'release'") == 10
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
        releasing = await connect(settings.database)
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


async def lock_away(
    connection: asyncpg.Connection, user: str, amounts: Sequence[int], seconds_ago: int = 1
) -> None:
    """Charge amounts whose locks, by the ledger, ended some time ago."""
    total = sum(amounts)
    await connection.execute(
        """
        with new as (
            select ('0190' || lpad(to_hex(n), 8, '0') || '70008000' || md5($1 || n)::varchar(12))::uuid as id, n, amount
            from unnest($2::bigint[]) with ordinality as asked (amount, n)
        ),
        charges as (
            insert into transfers (
                id, user_id, currency, kind, debit_account, credit_account, amount, total_after, available_after,
                locked_after, held_after, reference, release_at, created_at)
            select id, $1, 'USD', 'charge', 'funding', 'locked', amount, so_far, 0, so_far, 0, id,
                now() - $4 * interval '1 second' + n * interval '1 microsecond', now() - interval '1 day'
            from (select *, (sum(amount) over (order by n))::bigint as so_far from new) as summed
        ),
        new_locks as (
            insert into locks
            select $1, 'USD', now() - $4 * interval '1 second' + n * interval '1 microsecond', id, amount from new
        ),
        new_keys as (
            insert into idempotency_keys (client, key, fingerprint, user_id, currency, movement_id)
            select 'planted', $1 || n, '', $1, 'USD', id from new
        )
        insert into wallets (user_id, currency, locked, transactions, last_at)
        values ($1, 'USD', $3, cardinality($2), now())
        """,
        user,
        list(amounts),
        total,
        seconds_ago,
    )


async def test_the_statement_releases_as_the_domain_does(connection: asyncpg.Connection) -> None:
    """Goal: rows written by `release_oldest` are those that `Wallet.move` makes, lock by lock, oldest first."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for round_ in range(10):
        user = f"user-{round_}"
        amounts = [chance.randint(1, 1000) for _ in range(chance.randint(1, 40))]
        await lock_away(connection, user, amounts)
        held, available = chance.choice((0, 7)), chance.choice((0, 5))
        await connection.execute(
            "update wallets set held = $2, available = $3, last_at = now() + $4 * interval '1 hour' where user_id = $1",
            user, held, available, chance.choice((-1, 1)),
        )  # fmt: skip
        locks = await connection.fetch(
            "select * from locks where user_id = $1 order by release_at, charge_id", user
        )
        step = chance.randint(1, 50)
        released = (await release_oldest(connection, [(user, "USD")], step))[user, "USD"]
        rows = await connection.fetch(
            "select * from transfers where user_id = $1 and kind = 'release' order by id", user
        )
        wallet = Wallet(user, "USD", available, sum(amounts), held, at=rows[0]["created_at"])
        matured = [
            MaturedLock(lock["charge_id"], lock["release_at"], lock["amount"]) for lock in locks[:step]
        ]
        expected = [wallet.release(lock, rows[0]["created_at"]) for lock in matured]
        assert released == (len(expected), wallet.available)
        assert [_without_id(row) for row in rows] == [_without_id(t._asdict()) for t in expected]
        assert all(row["total_after"] == wallet.total for row in rows)
        assert [str(row["id"])[:18] for row in rows] == [str(t.id)[:18] for t in expected]
        assert await connection.fetchval("select count(*) from locks where user_id = $1", user) == len(
            locks[step:]
        )
        after = await connection.fetchrow("select * from wallets where user_id = $1", user)
        assert (after["available"], after["locked"], after["held"]) == (wallet.available, wallet.locked, held)
        assert after["last_at"] == rows[0]["created_at"]


def _without_id(row: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a row that does not depend on its writer: all but the random part of an identifier."""
    return {name: row[name] for name in Transfer._fields if name != "id"}


async def test_a_storm_of_matured_locks(
    ledger: Ledger, reader: Reader, connection: asyncpg.Connection, books_hold: BooksHold
) -> None:
    """Goal: a withdrawal that needs 5,000 releases is set apart: others go on, it is accepted, reads are right."""
    count, at = 5_000, in_an_hour()
    await asyncio.gather(*(ledger.submit(charge(1, user="rich", release_at=at)) for _ in range(count)))
    await mature(connection)
    others = 0
    async with asyncio.TaskGroup() as group:
        everything = group.create_task(insist(ledger, withdraw(count - 5, user="rich")))
        while not everything.done():
            await ledger.submit(charge(1, user="poor"))
            others += 1
            withdrawable, locked, held = await split(reader, "rich")
            assert (withdrawable + held, locked) == (count, 0)
            if others == 3:
                await ledger.submit(withdraw(5, user="rich"))
    assert others > 3
    assert await split(reader, "rich") == (0, 0, count)
    await books_hold()


async def insist(ledger: Ledger, command: Withdraw) -> None:
    """Send a withdrawal until it is accepted."""
    while True:
        try:
            await ledger.submit(command)
        except TryLater:
            continue
        return


async def test_what_is_set_apart_is_bounded(
    make_settings: Callable[..., Settings], connection: asyncpg.Connection, reader: Reader
) -> None:
    """Goal: requests set apart beyond the limit are refused; one that waits too long gets 503, and later succeeds."""
    ledger = Ledger(make_settings(WBS_WRITE_TIMEOUT_MS="400", WBS_LOCK_TIMEOUT_MS="300"))
    ledger.start()
    await lock_away(connection, "rich", [1] * 5_000)
    async with connection.transaction():
        await connection.execute("select from wallets where user_id = 'rich' for no key update")
        results = await asyncio.gather(
            *(ledger.submit(withdraw(1, user="rich")) for _ in range(3)), return_exceptions=True
        )
        assert all(isinstance(result, Unavailable) for result in results)
    for _ in range(WAITING_MAX + 100):
        ledger.submit(withdraw(5_000, user="rich", key="once")).add_done_callback(lambda f: f.exception())
    await insist(ledger, withdraw(5_000, user="rich", key="once"))
    assert await split(reader, "rich") == (0, 0, 5_000)
    await ledger.stop()


async def test_the_background_passes_over_what_is_locked(
    settings: Settings, connection: asyncpg.Connection, database_url: str
) -> None:
    """Goal: while another session holds the wallet with the oldest locks, the locks of other wallets are released."""
    await lock_away(connection, "kept", [1] * 3_000, seconds_ago=60)
    for n in range(30):
        await lock_away(connection, f"user-{n}", [1, 2])
    holder = await asyncpg.connect(database_url, timeout=10)
    async with holder.transaction():
        await holder.execute("select from wallets where user_id = 'kept' for no key update")
        session = ReconcilerSession(settings)
        assert await session.lead()
        released = 0
        while count := await session.release_matured():
            released += count
        assert released == 60
    while count := await session.release_matured():
        released += count
    assert released == 3_060
    await session.close()
    await holder.close(timeout=10)

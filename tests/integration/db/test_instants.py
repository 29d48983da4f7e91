"""Instants of a wallet's books never go back, whatever the database's clock does."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from db import reads
from db.connections import Reader
from db.ledger import Ledger
from db.lists import LAST_ID, Span
from db.releases import release_oldest
from db.withdrawals import Withdrawals
from runtime.settings import Settings
from tests.integration.db.conftest import accepted, charge, split, submit_twice, transfer, withdraw
from wallet.commands import Charge, Withdraw
from wallet.errors import ValidationFailed
from wallet.outcomes import BankUnavailable, Declined, Paid
from wallet.receipts import Recorded
from wallet.withdrawal import Status

OpenLedger = Callable[[Settings], Ledger]
BooksHold = Callable[[], Awaitable[dict[str, int]]]

_CLOCK = """
create schema if not exists clock;
create or replace function clock.clock_timestamp() returns timestamptz language sql volatile as $$ select {now} $$;
"""


class Clock:
    """The database's clock, for sessions that begin from now on."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def set(self, now: str) -> None:
        """Let the clock say what the SQL expression says."""
        database = await self._connection.fetchval("select current_database()")
        await self._connection.execute(_CLOCK.format(now=now))
        await self._connection.execute(
            f"alter database {database} set search_path = clock, pg_catalog, public"
        )

    async def step_back(self, interval: str = "1 hour") -> None:
        """Let the clock be behind."""
        await self.set(f"pg_catalog.clock_timestamp() - interval '{interval}'")

    async def now(self) -> datetime:
        """Return what the clock says."""
        now: datetime = await self._connection.fetchval("select clock.clock_timestamp()")
        return now


@pytest.fixture
def clock(connection: asyncpg.Connection) -> Clock:
    """The clock of the test's database."""
    return Clock(connection)


async def listed(reader: Reader, user: str = "ann") -> list[UUID]:
    """Return all of a user's transactions, newest first, page by page."""
    found: list[UUID] = []
    end: UUID | None = LAST_ID
    while end is not None:
        page = await reads.transactions(reader, (user, "USD"), limit=3, span=Span(end=end))
        found += [item.id for item in page.items]
        end = page.next
    assert len(found) == page.total
    return found


async def check_order(connection: asyncpg.Connection, user: str = "ann") -> None:
    """Check that the rows of a wallet are in order by identifier, by instant and by what followed from what."""
    rows = await connection.fetch(
        "select created_at, total_after, amount, debit_account, credit_account from transfers"
        " where user_id = $1 order by id",
        user,
    )
    instants = [row["created_at"] for row in rows]
    assert instants == sorted(instants)
    total = 0
    for row in rows:
        total += (row["debit_account"] in ("funding", "bank")) * row["amount"]
        total -= (row["credit_account"] in ("funding", "bank")) * row["amount"]
        assert row["total_after"] == total
    last_at = await connection.fetchval("select last_at from wallets where user_id = $1", user)
    assert last_at == instants[-1]


async def test_newest_first_though_the_clock_stepped_back(
    settings: Settings, open_ledger: OpenLedger, reader: Reader, connection: asyncpg.Connection, clock: Clock
) -> None:
    """Goal: both writers go on after the last instant; answers, replays and pages are in the order of what happened."""
    order = []
    ledger = open_ledger(settings)
    for amount in (1, 2, 4):
        order.append(await accepted(ledger, charge(amount)))
    await ledger.submit(charge(1, user="bob"))
    await clock.step_back()
    optimistic, locking_ledger = open_ledger(settings), open_ledger(settings)
    await submit_twice(locking_ledger, charge(1, user="carl"))
    for ledger in (optimistic, locking_ledger):
        batch: list[Charge | Withdraw] = [charge(8, key=f"{len(order)}"), withdraw(2), charge(16)]
        results = await asyncio.gather(*(ledger.submit(one) for one in batch))
        order += [result.receipt.id for result in results]
        replay = await ledger.submit(batch[0])
        assert replay == Recorded(results[0].receipt, replayed=True)
    assert await listed(reader) == order[::-1]
    await check_order(connection)
    untouched = await open_ledger(settings).submit(charge(1, user="dora"))
    assert untouched.receipt.created_at <= await clock.now(), "another wallet keeps to the clock"


async def test_many_batches_in_one_instant(
    settings: Settings, open_ledger: OpenLedger, reader: Reader, connection: asyncpg.Connection, clock: Clock
) -> None:
    """Goal: with a clock that stands still, batches of two processes come one after the other, none in between."""
    await clock.set("timestamptz '2026-01-01 12:00:00+00'")
    ledgers = open_ledger(settings), open_ledger(settings)
    await submit_twice(ledgers[1], charge(1))  # one of them writes under locks
    order = []
    for n in range(10):
        for ledger in ledgers:
            results = await asyncio.gather(*(ledger.submit(charge(1, key=f"{n}-{i}")) for i in range(3)))
            order += [result.receipt.id for result in results if not result.replayed]
    assert await listed(reader) == [*order[::-1], (await listed(reader))[-1]]
    await check_order(connection)


async def test_what_is_due_is_judged_by_the_clock(
    settings: Settings,
    open_ledger: OpenLedger,
    open_withdrawals: Callable[[Settings], Withdrawals],
    reader: Reader,
    connection: asyncpg.Connection,
    clock: Clock,
) -> None:
    """Goal: only written instants are raised: releases, refusals, leases and rungs keep to the clock."""
    await open_ledger(settings).submit(charge(100))
    await clock.step_back()
    for locking in (False, True):
        ledger = open_ledger(settings)
        if locking:
            await submit_twice(ledger, charge(1))
        now = await clock.now()
        with pytest.raises(ValidationFailed):
            await ledger.submit(charge(1, release_at=now - timedelta(seconds=1)))
        locked = await open_ledger(settings).submit(charge(1, release_at=now + timedelta(minutes=30)))
        assert locked.receipt.created_at > now + timedelta(minutes=30)
    assert (await split(reader))[1] == 2
    withdrawals = open_withdrawals(settings)
    id = await accepted(ledger, withdraw(5))
    attempt = await withdrawals.begin_attempt(id, "ann")
    assert attempt is not None
    assert attempt.lease_until is not None
    assert attempt.lease_until <= await clock.now() + timedelta(milliseconds=settings.lease_ms)
    await withdrawals.settle(attempt, BankUnavailable("away"))
    view = await reads.withdrawal(reader, id)
    assert view.next_attempt_at <= await clock.now() + timedelta(milliseconds=settings.retry_delay_ms_max)
    due = "select ring_at from withdrawals union select created_at from outbox"
    latest = await clock.now() + timedelta(minutes=5)
    assert max(row[0] for row in await connection.fetch(due)) < latest
    await check_order(connection)


@pytest.mark.parametrize("outcome", [Paid("p"), Declined("closed")], ids=["all at once", "one by one"])
async def test_the_history_of_a_withdrawal(
    outcome: Paid | Declined,
    settings: Settings,
    open_ledger: OpenLedger,
    open_withdrawals: Callable[[Settings], Withdrawals],
    reader: Reader,
    connection: asyncpg.Connection,
    clock: Clock,
    books_hold: Callable[[], Awaitable[dict[str, int]]],
) -> None:
    """Goal: a withdrawal's history and `updated_at` go on too, with the clock behind at each of its moves."""
    ledger = open_ledger(settings)
    await ledger.submit(charge(100))
    ids = [await accepted(ledger, withdraw(5)) for _ in range(3)]
    await clock.step_back("1 hour")
    begun = [await open_withdrawals(settings).begin_attempt(id, "ann") for id in ids]
    await clock.step_back("2 hours")
    withdrawals = open_withdrawals(settings)
    attempts = [attempt for attempt in begun if attempt is not None]
    await asyncio.gather(*(withdrawals.settle(attempt, outcome) for attempt in attempts))
    for id in ids:
        view = await reads.withdrawal(reader, id)
        instants = [view.created_at, *(entry.at for entry in view.history), view.updated_at]
        assert instants == sorted(instants)
        assert Status(view.status) is (Status.COMPLETED if isinstance(outcome, Paid) else Status.FAILED)
        moved = "select created_at from transfers where reference = $1 and kind in ('payout', 'refund')"
        assert await connection.fetchval(moved, id) == view.updated_at
    await check_order(connection)
    await books_hold()


async def test_releases_in_the_background(
    settings: Settings,
    open_ledger: OpenLedger,
    database_url: str,
    connection: asyncpg.Connection,
    clock: Clock,
) -> None:
    """Goal: a release that is written with the clock behind comes after all that was there."""
    ledger = open_ledger(settings)
    await clock.step_back("2 hours")
    behind = open_ledger(settings)
    await behind.submit(charge(5, release_at=await clock.now() + timedelta(minutes=30)))
    await ledger.submit(charge(7))  # this session's clock is right still
    await clock.step_back("1 hour")
    session = await asyncpg.connect(database_url, timeout=10)
    released = await release_oldest(session, [("ann", "USD")])
    assert released["ann", "USD"].locks == 1
    await session.close(timeout=10)
    await check_order(connection)
    kinds = await connection.fetch("select kind from transfers order by id")
    assert [row["kind"] for row in kinds] == ["charge", "charge", "release"]


@pytest.mark.parametrize("locking", [False, True], ids=["optimistic", "locking"])
async def test_what_comes_and_goes_at_once(
    settings: Settings,
    open_ledger: OpenLedger,
    connection: asyncpg.Connection,
    books_hold: BooksHold,
    clock: Clock,
    locking: bool,
) -> None:
    """Goal: a batch that leaves a wallet's balances as they were has moved its last instant all the same."""
    ledger = open_ledger(settings)
    for user in ("ann", "bob"):
        await ledger.submit(charge(100, user=user))
    await clock.step_back()
    ledger = open_ledger(settings)
    if locking:
        await submit_twice(ledger, charge(1, user="carl"))
    for _ in range(3):
        crossing = (transfer("ann", ("bob", 10)), transfer("bob", ("ann", 10)))
        await asyncio.gather(*map(ledger.submit, crossing))
    await books_hold()

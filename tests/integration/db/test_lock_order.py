"""Locks are taken in one order by everybody: seen while a batch waits for the last one of them.

A deadlock would be resolved by PostgreSQL and the batch tried again, so that books and answers stay right and no
other test notices: it costs a second each time, and the patience of whoever waits.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
import pytest_asyncio

from db.ledger import Ledger
from db.releases import release_matured
from db.withdrawals import Withdrawals
from runtime.settings import Settings
from tests.integration.db.conftest import accepted, charge, submit_twice, waiting_for_locks, withdraw
from tests.locks import in_an_hour, mature
from tests.polling import poll_until
from wallet.outcomes import Paid

LAST, FIRST = "zoe", "ann"
"""In the order in which the tests name them: the wrong one."""

LOCK_WALLET = "select from wallets where user_id = $1 for no key update nowait"
LOCK_WITHDRAWALS = "select from withdrawals for update nowait"


@pytest_asyncio.fixture
async def elsewhere(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Another process's connection."""
    connection = await asyncpg.connect(database_url, timeout=10)
    yield connection
    await connection.close(timeout=10)


@pytest.fixture
def patient(make_settings: Callable[..., Settings]) -> Settings:
    """Settings with which a batch waits as long as a test holds a lock, even on a busy machine."""
    return make_settings(WBS_LOCK_TIMEOUT_MS="20000", WBS_WRITE_TIMEOUT_MS="40000")


@pytest_asyncio.fixture
async def wallets(patient: Settings, open_ledger: Callable[[Settings], Ledger]) -> Ledger:
    """A ledger, and two wallets of 100, the last one made first."""
    ledger = open_ledger(patient)
    for user in (LAST, FIRST):
        await ledger.submit(charge(100, user=user, key=f"money of {user}"))
    return ledger


async def together(*calls: Awaitable[object]) -> None:
    """Make the calls so that they come into one batch."""
    await asyncio.gather(*calls)


async def charges(ledger: Ledger) -> None:
    await together(*(ledger.submit(charge(1, user=user)) for user in (LAST, FIRST)))


async def check_that_first_is_locked(
    write: Callable[[], Awaitable[object]], holder: asyncpg.Connection, looker: asyncpg.Connection, look: str
) -> None:
    """Hold the last wallet; assert that `write`, while it waits for it, holds what `look` asks for."""
    async with holder.transaction():
        await holder.execute(LOCK_WALLET, LAST)
        writing = asyncio.ensure_future(write())
        await poll_until(lambda: waiting_for_locks(looker), 30, what="the batch waits for the last wallet")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await looker.execute(look, *([FIRST] if "$1" in look else []))
    await writing


@pytest.mark.parametrize("locking", [False, True])
async def test_wallets_of_a_batch(
    patient: Settings,
    wallets: Ledger,
    open_ledger: Callable[[Settings], Ledger],
    connection: asyncpg.Connection,
    elsewhere: asyncpg.Connection,
    locking: bool,
) -> None:
    """Goal: a batch locks its wallets by key, in whatever order their requests came."""
    ledger = open_ledger(patient)
    if locking:
        await submit_twice(ledger, charge(1, user=FIRST))
    await check_that_first_is_locked(lambda: charges(ledger), connection, elsewhere, LOCK_WALLET)


async def test_new_wallets_of_a_batch(
    wallets: Ledger, connection: asyncpg.Connection, elsewhere: asyncpg.Connection
) -> None:
    """Goal: a batch that waits for a wallet which is being created elsewhere holds no other wallet meanwhile."""
    creating = connection.transaction()
    await creating.start()
    await connection.execute("insert into wallets (user_id, currency) values ('new', 'USD')")

    async def write() -> None:
        await together(*(wallets.submit(charge(1, user=user)) for user in (LAST, "new", FIRST)))

    writing = asyncio.ensure_future(write())
    await poll_until(lambda: waiting_for_locks(elsewhere), 30, what="the batch waits for the new wallet")
    for user in (LAST, FIRST):
        await elsewhere.execute(LOCK_WALLET, user)
    await creating.rollback()
    await writing


@pytest.mark.parametrize(
    "look", [LOCK_WALLET, LOCK_WITHDRAWALS], ids=["wallets", "withdrawals before wallets"]
)
async def test_moves_of_withdrawals(
    patient: Settings,
    wallets: Ledger,
    open_withdrawals: Callable[[Settings], Withdrawals],
    connection: asyncpg.Connection,
    elsewhere: asyncpg.Connection,
    look: str,
) -> None:
    """Goal: transitions lock all their withdrawals, then all their wallets by key."""
    withdrawals = open_withdrawals(patient)
    attempts = []
    for user in (LAST, FIRST):
        id = await accepted(wallets, withdraw(10, user=user))
        attempt = await withdrawals.begin_attempt(id, user)
        assert attempt is not None
        attempts.append(attempt)

    async def settle() -> None:
        await together(*(withdrawals.settle(attempt, Paid(f"po_{attempt.number}")) for attempt in attempts))

    await check_that_first_is_locked(settle, connection, elsewhere, look)


async def test_releases(
    wallets: Ledger, connection: asyncpg.Connection, elsewhere: asyncpg.Connection
) -> None:
    """Goal: releases in the background wait for no wallet: locked wallets are passed over."""
    for user in (LAST, FIRST):
        await wallets.submit(charge(5, user=user, release_at=in_an_hour()))
    await mature(connection)
    async with connection.transaction():
        await connection.execute(LOCK_WALLET, FIRST)
        assert await release_matured(elsewhere) == 1
        assert await release_matured(elsewhere) == 0
    assert await release_matured(elsewhere) == 1


async def test_keys_of_a_batch(
    wallets: Ledger, connection: asyncpg.Connection, elsewhere: asyncpg.Connection
) -> None:
    """Goal: a batch writes its idempotency keys in their order; a key counts as taken from then on."""
    insert = """insert into idempotency_keys (client, key, fingerprint, user_id, currency, movement_id)
        values ('shop', $1, '', 'nobody', 'USD', gen_random_uuid())"""
    holding = connection.transaction()
    await holding.start()
    await connection.execute(insert, "z")

    async def write() -> None:
        await together(
            wallets.submit(charge(1, user=FIRST, key="z")), wallets.submit(charge(1, user=FIRST, key="a"))
        )

    writing = asyncio.ensure_future(write())
    await poll_until(lambda: waiting_for_locks(elsewhere), 30, what="the batch waits for key z")
    await elsewhere.execute("set lock_timeout = '200ms'")
    with pytest.raises(asyncpg.LockNotAvailableError):
        await elsewhere.execute(insert, "a")
    await holding.rollback()
    await writing

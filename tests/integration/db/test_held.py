"""A lock kept by another session harms only the requests that need it; all others go on as if it did not exist."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
import pytest_asyncio

from db.ledger import Ledger
from db.withdrawals import Withdrawals
from runtime.settings import Settings
from tests.integration.db.conftest import accepted, answers, charge, withdraw
from tests.polling import keeps, poll_until
from wallet.errors import Unavailable
from wallet.outcomes import Paid
from wallet.withdrawal import Status

BooksHold = Callable[[], Awaitable[dict[str, int]]]
OpenLedger = Callable[[Settings], Ledger]
LOCK_WAIT = {"WBS_LOCK_TIMEOUT_MS": "700"}
USERS = [f"u{n}" for n in range(40)]

HOLDS = {
    "a plain transaction": ("begin", "update wallets set available = available where user_id = 'u7'"),
    "under a savepoint": (
        "begin", "savepoint s", "update wallets set available = available where user_id = 'u7'",
    ),
    "a row lock": ("begin", "select from wallets where user_id = 'u7' for no key update"),
    "two share it": ("begin", "select from wallets where user_id = 'u7' for share"),
}  # fmt: skip


@pytest_asyncio.fixture
async def ledger(make_settings: Callable[..., Settings], open_ledger: OpenLedger) -> Ledger:
    """A ledger in which each of USERS has 1000."""
    ledger = open_ledger(make_settings(**LOCK_WAIT))
    await asyncio.gather(*(ledger.submit(charge(1000, user=user)) for user in USERS))
    return ledger


@pytest_asyncio.fixture
async def holder(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Another session."""
    connection = await asyncpg.connect(database_url, timeout=10)
    yield connection
    connection.terminate()


@pytest.mark.parametrize("hold", HOLDS)
async def test_a_held_wallet_costs_the_others_nothing(
    ledger: Ledger, holder: asyncpg.Connection, books_hold: BooksHold, hold: str
) -> None:
    """Goal: once it is known to be held, no batch waits for it again, however often it is asked for."""
    for statement in HOLDS[hold]:
        await holder.execute(statement)
    with pytest.raises(Unavailable) as refusal:
        await ledger.submit(charge(1, user="u7"))
    assert refusal.value.reason == "database_locked"
    stop = False
    refused = 0

    async def insist() -> None:
        nonlocal refused
        while not stop:
            with pytest.raises(Unavailable):
                await ledger.submit(charge(1, user="u7"))
            refused += 1

    insisting = [asyncio.create_task(insist()) for _ in range(3)]

    async def a_round() -> float:
        started = time.monotonic()
        await asyncio.gather(*(ledger.submit(charge(1, user=user)) for user in USERS if user != "u7"))
        return time.monotonic() - started

    for _ in range(5):
        await keeps(0.15, a_round)
    await poll_until(lambda: refused >= 3)
    stop = True
    await asyncio.gather(*insisting)
    await holder.execute("rollback")
    assert answers([await ledger.submit(charge(1, user="u7"))]) == {"new": 1}
    await books_hold()


async def test_what_is_free_again_is_served_at_once(
    ledger: Ledger, holder: asyncpg.Connection, books_hold: BooksHold
) -> None:
    """Goal: who waits when the lock is given back is answered then, in full, and the wallet is as any other again."""
    await holder.execute("begin")
    await holder.execute("select from wallets where user_id in ('u1', 'u2', 'u3') for update")
    waiting = [ledger.submit(charge(1, user=user)) for user in ("u1", "u2", "u3") * 5]
    others = [ledger.submit(charge(1, user="u9")) for _ in range(10)]
    assert answers(await asyncio.gather(*others)) == {"new": 10}
    assert not any(future.done() for future in waiting)
    await holder.execute("rollback")
    assert answers(await asyncio.gather(*waiting, return_exceptions=True)) == {"new": 15}
    await books_hold()


async def test_a_key_that_somebody_is_using(
    ledger: Ledger, holder: asyncpg.Connection, books_hold: BooksHold
) -> None:
    """Goal: a key in a transaction that does not end: its request is found in the batch and fails alone."""
    await holder.execute("begin")
    await holder.execute(
        "insert into idempotency_keys (client, key, fingerprint, user_id, currency, movement_id) "
        "values ('shop', 'used', '', 'nobody', 'USD', gen_random_uuid())"
    )

    async def a_batch() -> float:
        commands = [charge(1, user=user, **({"key": "used"} if user == "u7" else {})) for user in USERS]
        started = time.monotonic()
        results = await asyncio.gather(*map(ledger.submit, commands), return_exceptions=True)
        assert isinstance(results[7], Unavailable)
        assert answers([*results[:7], *results[8:]]) == {"new": len(USERS) - 1}
        return time.monotonic() - started

    await keeps(0.8, a_batch)
    await keeps(0.15, a_batch)
    await holder.execute("rollback")

    async def accepted_again() -> bool:
        results = await asyncio.gather(
            ledger.submit(charge(1, user="u7", key="used")), return_exceptions=True
        )
        return answers(results) == {"new": 1}

    await poll_until(accepted_again)
    await books_hold()


async def test_payouts_pass_by_a_held_wallet(
    ledger: Ledger,
    make_settings: Callable[..., Settings],
    open_withdrawals: Callable[[Settings], Withdrawals],
    holder: asyncpg.Connection,
    books_hold: BooksHold,
) -> None:
    """Goal: news of payouts of a held wallet, or of a held withdrawal, come again and again; others don't wait."""
    withdrawals = open_withdrawals(make_settings(**LOCK_WAIT))
    ids = {user: [await accepted(ledger, withdraw(1, user=user)) for _ in range(4)] for user in USERS[:8]}
    attempts = [
        (user, await withdrawals.begin_attempt(id, user)) for user, of_user in ids.items() for id in of_user
    ]
    await holder.execute("begin")
    await holder.execute("select from wallets where user_id = 'u7' for update")
    await holder.execute("select from withdrawals where id = $1 for update", ids["u6"][0])
    held = [one for user, one in attempts if one and (user == "u7" or one.withdrawal_id == ids["u6"][0])]
    free = [one for _, one in attempts if one and one not in held]

    async def settle_held() -> float:
        started = time.monotonic()
        results = await asyncio.gather(
            *(withdrawals.settle(one, Paid("p")) for one in held), return_exceptions=True
        )
        assert all(isinstance(result, Unavailable) for result in results)
        return time.monotonic() - started

    await settle_held()
    insisting = asyncio.create_task(settle_held())

    async def settle_one() -> float:
        started = time.monotonic()
        assert await withdrawals.settle(free.pop(), Paid("p")) is Status.COMPLETED
        return time.monotonic() - started

    for _ in range(5):
        await keeps(0.15, settle_one)
    await insisting
    await holder.execute("rollback")
    assert [await withdrawals.settle(one, Paid("p")) for one in [*held, *free]] == [Status.COMPLETED] * (
        len(held) + len(free)
    )
    await books_hold()

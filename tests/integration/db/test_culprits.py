"""One request that fails must not take others with it: batches are split until the culprit is alone."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from db.connections import Reader, connect
from db.errors import CONNECTION_ERRORS
from db.ledger import Ledger
from runtime.settings import Settings
from tests.integration.db.conftest import answers, charge, split, withdraw
from tests.polling import keeps, poll_until
from wallet.commands import Charge
from wallet.errors import Overloaded, Unavailable

BooksHold = Callable[[], Awaitable[dict[str, int]]]
OpenLedger = Callable[[Settings], Ledger]

SOMEBODY_WAITS = "select 1 from pg_locks where not granted"

# Nothing of this passes the gateway's validation. It stands for whatever fails that nobody has thought of.
BAD = {
    "a NUL character": charge(1, key="nul\x00"),
    "half a character": charge(1, key="half\ud800"),
    "a key that is too long": charge(1, key="k" * 256),
    "a currency that is none": Charge("shop", "k", "ann", "usd", 1),
    "metadata that is no JSON": charge(1, key="k", metadata="{"),
    "an amount beyond bigint": charge(2**70, key="k"),
    "a user who is too long": charge(1, key="k", user="u" * 129),
}


@pytest.mark.parametrize("bad", BAD)
async def test_a_bad_request_fails_alone(
    ledger: Ledger, reader: Reader, books_hold: BooksHold, bad: str
) -> None:
    """Goal: 63 good requests in a batch with a bad one are written; only the bad one fails."""
    good = [charge(1) for _ in range(63)]
    commands = [*good[:40], BAD[bad], *good[40:]]
    results = await asyncio.gather(*(ledger.submit(command) for command in commands), return_exceptions=True)
    assert isinstance(results[40], Exception)
    assert not isinstance(results[40], Unavailable), "trying again won't help"
    assert answers([*results[:40], *results[41:]]) == {"new": 63}
    assert await split(reader) == (63, 0, 0)
    await books_hold()


async def test_several_bad_requests_fail_alone(ledger: Ledger, reader: Reader, books_hold: BooksHold) -> None:
    """Goal: some culprits scattered over a full batch cost the others nothing but time, and not much."""

    async def four_in_a_batch() -> float:
        commands = [
            charge(1, user=f"u{n % 50}", **({"key": f"bad\x00{n}"} if n in (0, 100, 101, 299) else {}))
            for n in range(300)
        ]
        started = time.monotonic()
        results = await asyncio.gather(*map(ledger.submit, commands), return_exceptions=True)
        took = time.monotonic() - started
        assert answers(results)["new"] == 296
        assert sum(isinstance(result, BaseException) for result in results) == 4
        return took

    await keeps(1.5, four_in_a_batch)
    await books_hold()


async def test_a_wallet_that_somebody_else_holds(
    make_settings: Callable[..., Settings],
    open_ledger: OpenLedger,
    connection: asyncpg.Connection,
    reader: Reader,
    books_hold: BooksHold,
) -> None:
    """Goal: with one wallet locked elsewhere only its own requests are refused, all within the deadline."""
    ledger = open_ledger(make_settings(WBS_LOCK_TIMEOUT_MS="700"))
    users = [f"u{n}" for n in range(64)]
    await asyncio.gather(*(ledger.submit(charge(1, user=user)) for user in users))
    charged = 1

    async def one_each() -> float:
        nonlocal charged
        started = time.monotonic()
        results = await asyncio.gather(
            *(ledger.submit(charge(1, user=user)) for user in users), return_exceptions=True
        )
        took = time.monotonic() - started
        charged += 1
        assert isinstance(results[20], Unavailable)
        assert answers(results) == {"new": 63, "Unavailable": 1}
        return took

    async with connection.transaction():
        await connection.fetch("select 1 from wallets where user_id = 'u20' for update")
        for _ in range(2):
            await keeps(2.0, one_each)
    await ledger.submit(charge(1, user="u20"))
    assert await split(reader, "u20") == (2, 0, 0)
    assert await split(reader, "u21") == (charged, 0, 0)
    await books_hold()


async def test_a_lock_that_is_given_back_in_time(
    ledger: Ledger, connection: asyncpg.Connection, reader: Reader
) -> None:
    """Goal: a lock held for a moment delays, it does not refuse."""
    await ledger.submit(charge(10))
    transaction = connection.transaction()
    await transaction.start()
    await connection.fetch("select 1 from wallets where user_id = 'ann' for update")
    waiting = ledger.submit(withdraw(4))
    await poll_until(lambda: connection.fetchval(SOMEBODY_WAITS))
    await transaction.commit()
    await waiting
    assert await split(reader) == (6, 0, 4)


async def test_a_process_that_froze_within_a_transaction(
    make_settings: Callable[..., Settings], ledger: Ledger, reader: Reader, books_hold: BooksHold
) -> None:
    """Goal: locks of a process that is frozen are freed by the server, which asks it no more."""
    settings = make_settings(WBS_WRITE_TIMEOUT_MS="400", WBS_LOCK_TIMEOUT_MS="100")
    await ledger.submit(charge(10))
    frozen = await connect(settings.database)
    await frozen.execute("begin")
    await frozen.fetch("select 1 from wallets where user_id = 'ann' for update")

    async def accepted() -> bool:
        return answers(await asyncio.gather(ledger.submit(withdraw(1)), return_exceptions=True)) == {"new": 1}

    await poll_until(accepted)
    assert await split(reader) == (9, 0, 1)
    with pytest.raises(CONNECTION_ERRORS):
        await frozen.execute("commit")
    await books_hold()


async def test_a_full_backlog(
    make_settings: Callable[..., Settings],
    open_ledger: OpenLedger,
    connection: asyncpg.Connection,
    reader: Reader,
) -> None:
    """Goal: beyond the backlog requests are refused at once as overloaded, those taken are written."""
    ledger = open_ledger(make_settings(WBS_BACKLOG_MAX="50", WBS_BATCH_SIZE_MAX="10"))
    await ledger.submit(charge(1))
    transaction = connection.transaction()
    await transaction.start()
    await connection.fetch("select 1 from wallets for update")
    first = ledger.submit(charge(1))
    await poll_until(lambda: connection.fetchval(SOMEBODY_WAITS))
    waiting = [ledger.submit(charge(1)) for _ in range(50)]
    for _ in range(30):
        with pytest.raises(Overloaded):
            ledger.submit(charge(1))
    await transaction.commit()
    assert answers(await asyncio.gather(first, *waiting, return_exceptions=True)) == {"new": 51}
    assert await split(reader) == (52, 0, 0)


async def test_stop_writes_what_is_waiting(
    make_settings: Callable[..., Settings], open_ledger: OpenLedger, reader: Reader, books_hold: BooksHold
) -> None:
    """Goal: the final flush: what was taken before the stop is written and answered, later is refused."""
    ledger = open_ledger(make_settings(WBS_BATCH_SIZE_MAX="10"))
    tasks = [ledger.submit(charge(1)) for _ in range(100)]
    await asyncio.sleep(0)
    await ledger.stop()
    with pytest.raises(Unavailable):
        await ledger.submit(charge(1))
    assert answers(await asyncio.gather(*tasks)) == {"new": 100}
    assert await split(reader) == (100, 0, 0)
    await books_hold()


async def test_a_client_that_went_away(ledger: Ledger, reader: Reader, books_hold: BooksHold) -> None:
    """Goal: a caller cancelled while it waits harms no other; its request, once accepted, takes effect."""
    tasks = [ledger.submit(charge(1, key=f"k{n}")) for n in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert answers(results) == {"CancelledError": 10, "new": 10}
    again = await asyncio.gather(*(ledger.submit(charge(1, key=f"k{n}")) for n in range(20)))
    assert answers(again).keys() <= {"replayed", "new"}
    assert await split(reader) == (20, 0, 0)
    await books_hold()

"""Charges and withdrawals as they are written: receipts, keys, refusals, and what stays in the tables."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import asyncpg
import msgspec
import pytest

from db.connections import Reader
from db.ledger import Ledger
from runtime.settings import Settings
from tests.integration.db.conftest import answers, charge, split, withdraw
from tests.locks import EARLIER, in_a_month, in_an_hour, mature
from wallet.commands import Charge, Withdraw
from wallet.errors import (
    BalanceLimitExceeded,
    IdempotencyKeyReused,
    InsufficientFunds,
    ValidationFailed,
    WalletError,
)
from wallet.money import AMOUNT_MAX
from wallet.receipts import ChargeReceipt, WithdrawReceipt

BooksHold = Callable[[], Awaitable[dict[str, int]]]
ODD_JSON = '{"b" : [1, 2.50], "a":"ä\\u0000\\n",  "b": null }'
"""Must come back as it went in: its order, its blanks, its doubled key."""


async def test_money_in_and_out(ledger: Ledger, reader: Reader, books_hold: BooksHold) -> None:
    """Goal: charges add to withdrawable or locked, a withdrawal moves money to held, and the ledger agrees."""
    await ledger.submit(charge(100))
    await ledger.submit(charge(40, release_at=in_a_month()))
    assert await split(reader) == (100, 40, 0)
    await ledger.submit(withdraw(70))
    assert await split(reader) == (30, 40, 70)
    assert (await books_hold())["transfers"] == 3


async def test_currencies_are_wallets_of_their_own(ledger: Ledger, reader: Reader) -> None:
    """Goal: money in one currency can't be withdrawn in another."""
    await ledger.submit(charge(100))
    with pytest.raises(InsufficientFunds):
        await ledger.submit(Withdraw("shop", "k", "ann", "EUR", 1))
    assert await split(reader) == (100, 0, 0)


@pytest.mark.parametrize("restart", [False, True])
async def test_a_replay_is_the_first_answer(
    ledger: Ledger, settings: Settings, open_ledger: Callable[[Settings], Ledger], restart: bool
) -> None:
    """Goal: a repeated request gets the very same receipt from any process, with its JSON as it came."""
    lock = charge(5, key="k1", release_at=in_a_month(), metadata=ODD_JSON)
    plain = charge(50, key="k2")
    out = withdraw(20, key="k3", destination=ODD_JSON, metadata='"m"')
    first = [await ledger.submit(command) for command in (lock, plain, out)]
    assert not any(recorded.replayed for recorded in first)
    again = open_ledger(settings) if restart else ledger
    second = [await again.submit(command) for command in (lock, plain, out)]
    assert all(recorded.replayed for recorded in second)
    assert [recorded.receipt for recorded in second] == [recorded.receipt for recorded in first]
    one, _, three = (recorded.receipt for recorded in second)
    assert isinstance(one, ChargeReceipt)
    assert isinstance(three, WithdrawReceipt)
    assert (one.metadata, three.destination, three.metadata) == (ODD_JSON, ODD_JSON, '"m"')
    assert one.release_at == lock.release_at


async def test_a_replay_is_the_same_after_its_lock_was_released(
    ledger: Ledger, connection: asyncpg.Connection, books_hold: BooksHold
) -> None:
    """Goal: what happened since changes nothing in the answer: not the release, not the payout."""
    lock = charge(5, key="k", release_at=in_an_hour())
    first = (await ledger.submit(lock)).receipt
    assert isinstance(first, ChargeReceipt)
    assert first.release_at == lock.release_at
    await mature(connection)
    out = withdraw(5, key="out")
    taken = await ledger.submit(out)
    assert await connection.fetchval("select count(*) from locks") == 0
    assert lock.release_at is not None
    matured = lock.release_at - EARLIER
    asked_earlier = msgspec.structs.replace(lock, release_at=matured)
    assert (await ledger.submit(asked_earlier)).receipt == first._replace(release_at=matured)
    assert (await ledger.submit(out)).receipt == taken.receipt
    await books_hold()


MISUSES = [
    charge(6, key="k"),
    charge(5, key="k", user="bob"),
    charge(5, key="k", metadata='{"a":1}'),
    charge(5, key="k", release_at=datetime(2100, 1, 1, tzinfo=UTC)),
    withdraw(5, key="k"),
    Charge("shop", "k", "ann", "EUR", 5),
]


@pytest.mark.parametrize("misuse", MISUSES, ids=str)
async def test_a_key_used_for_something_else(
    ledger: Ledger, reader: Reader, misuse: Charge | Withdraw, books_hold: BooksHold
) -> None:
    """Goal: a used key with any other request is refused and moves no money, in the same batch or later."""
    first = ledger.submit(charge(5, key="k"))
    results = await asyncio.gather(first, ledger.submit(misuse), return_exceptions=True)
    assert answers(results) == {"new": 1, "IdempotencyKeyReused": 1}
    with pytest.raises(IdempotencyKeyReused):
        await ledger.submit(misuse)
    assert await split(reader) == (5, 0, 0)
    assert (await books_hold())["transfers"] == 1


async def test_a_key_belongs_to_its_client(ledger: Ledger, reader: Reader) -> None:
    """Goal: two API clients may use the same key for different requests."""
    await ledger.submit(Charge("shop", "k", "ann", "USD", 5))
    await ledger.submit(Charge("app", "k", "ann", "USD", 7))
    assert await split(reader) == (12, 0, 0)


REFUSED: list[tuple[Charge | Withdraw, type[WalletError]]] = [
    (withdraw(1, key="k"), InsufficientFunds),
    (charge(1, key="k", release_at=datetime(2020, 1, 1, tzinfo=UTC)), ValidationFailed),
    (charge(AMOUNT_MAX, key="k", user="rich"), BalanceLimitExceeded),
]


@pytest.mark.parametrize(("refused", "error"), REFUSED, ids=lambda value: getattr(value, "__name__", ""))
async def test_a_refused_request_leaves_nothing(
    ledger: Ledger,
    connection: asyncpg.Connection,
    books_hold: BooksHold,
    refused: Charge | Withdraw,
    error: type[WalletError],
) -> None:
    """Goal: a refusal writes no movement and no key, which can be used for the request put right."""
    await ledger.submit(charge(1, user="rich"))
    with pytest.raises(error):
        await ledger.submit(refused)
    assert await connection.fetchval("select count(*) from transfers") == 1
    assert await connection.fetchval("select count(*) from idempotency_keys") == 1
    assert await connection.fetchval("select sum(available + locked + held + transactions) from wallets") == 2
    await ledger.submit(charge(3, key="k"))
    await books_hold()


async def test_the_greatest_total(ledger: Ledger, reader: Reader, books_hold: BooksHold) -> None:
    """Goal: a wallet takes exactly the greatest amount JSON readers keep exact, and can be emptied again."""
    await ledger.submit(charge(AMOUNT_MAX))
    with pytest.raises(BalanceLimitExceeded):
        await ledger.submit(charge(1))
    assert await split(reader) == (AMOUNT_MAX, 0, 0)
    await ledger.submit(withdraw(AMOUNT_MAX))
    assert await split(reader) == (0, 0, AMOUNT_MAX)
    await books_hold()


async def test_arrival_order_counts_within_a_batch(ledger: Ledger, reader: Reader) -> None:
    """Goal: a withdrawal sent right after its charge, in the same batch, finds the money."""
    results = await asyncio.gather(
        *(
            ledger.submit(command)
            for n in range(20)
            for command in (charge(3, user=f"u{n}"), withdraw(3, user=f"u{n}"))
        )
    )
    assert answers(results) == {"new": 40}
    assert await split(reader, "u7") == (0, 0, 3)


async def test_identifiers_follow_the_order_of_a_wallets_movements(
    ledger: Ledger, connection: asyncpg.Connection
) -> None:
    """Goal: a wallet's transfers, by identifier, are its history: each total follows from the one before."""
    for _ in range(5):
        await asyncio.gather(*(ledger.submit(charge(2)) for _ in range(10)), ledger.submit(withdraw(1)))
    rows = await connection.fetch("select * from transfers where user_id = 'ann' order by id")
    total = 0
    for row in rows:
        total += row["amount"] if row["kind"] == "charge" else 0
        assert row["total_after"] == total
    assert [row["created_at"] for row in rows] == sorted(row["created_at"] for row in rows)

"""Many at once: in one process, in two, on one wallet and on many."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from db.connections import Reader
from db.ledger import Ledger
from runtime.settings import Settings
from tests.integration.db.conftest import answers, charge, split, withdraw
from wallet.commands import LedgerCommand

BooksHold = Callable[[], Awaitable[dict[str, int]]]
OpenLedger = Callable[[Settings], Ledger]
ROOT = Path(__file__).parents[3]


@pytest_asyncio.fixture(params=[1, 2], ids=["one process", "two processes"])
async def ledgers(
    request: pytest.FixtureRequest, settings: Settings, open_ledger: OpenLedger
) -> list[Ledger]:
    """One ledger, or two that know nothing of each other."""
    return [open_ledger(settings) for _ in range(request.param)]


async def test_64_with_one_key(ledgers: list[Ledger], reader: Reader, books_hold: BooksHold) -> None:
    """Goal: 64 at once under one key: one movement, and everybody gets its receipt."""
    results = await asyncio.gather(
        *(ledgers[n % len(ledgers)].submit(charge(10, key="k", metadata='{"a":1}')) for n in range(64))
    )
    assert answers(results) == {"new": 1, "replayed": 63}
    assert len({result.receipt for result in results}) == 1
    assert await split(reader) == (10, 0, 0)
    await books_hold()


async def test_64_withdrawals_of_everything(
    ledgers: list[Ledger], reader: Reader, books_hold: BooksHold
) -> None:
    """Goal: of 64 withdrawals of the whole balance exactly one is accepted, and nothing goes below zero."""
    await ledgers[0].submit(charge(1000))
    results = await asyncio.gather(
        *(ledgers[n % len(ledgers)].submit(withdraw(1000)) for n in range(64)), return_exceptions=True
    )
    assert answers(results) == {"new": 1, "InsufficientFunds": 63}
    assert await split(reader) == (0, 0, 1000)
    await books_hold()


async def test_one_hot_wallet(ledgers: list[Ledger], reader: Reader, books_hold: BooksHold) -> None:
    """Goal: charges and withdrawals of one wallet from everywhere add up."""
    await ledgers[0].submit(charge(600))
    commands = [charge(3) if n % 2 else withdraw(2) for n in range(600)]
    results = await asyncio.gather(
        *(ledgers[n % len(ledgers)].submit(command) for n, command in enumerate(commands)),
    )
    assert answers(results) == {"new": 600}
    assert await split(reader) == (600 + 300 * 3 - 300 * 2, 0, 300 * 2)
    await books_hold()


@pytest.mark.parametrize("replays", [False, True], ids=["all new", "with replays"])
async def test_each_total_follows_from_the_one_before(
    ledgers: list[Ledger], connection: asyncpg.Connection, books_hold: BooksHold, replays: bool
) -> None:
    """Goal: with any number of writers, a wallet's transfers in the order of their identifiers are its history."""
    await asyncio.gather(*(ledger.submit(charge(100, key="first")) for ledger in ledgers))

    def batch() -> list[LedgerCommand]:
        return [charge(3), withdraw(1), charge(100, key="first") if replays else charge(3), charge(2)]

    for _ in range(15):
        await asyncio.gather(*(ledger.submit(command) for ledger in ledgers for command in batch()))
    rows = await connection.fetch("select kind, amount, total_after from transfers order by id")
    total = 0
    for row in rows:
        total += row["amount"] if row["kind"] == "charge" else 0
        assert row["total_after"] == total
    await books_hold()


async def test_new_wallets_of_many_at_once(
    ledgers: list[Ledger], reader: Reader, books_hold: BooksHold
) -> None:
    """Goal: first charges of the same new wallets, in different orders, from everywhere, create each once."""
    users = [f"user-{n}" for n in range(40)]
    orders = [users, users[::-1]]
    results = await asyncio.gather(
        *(ledgers[n % len(ledgers)].submit(charge(1, user=user)) for n in range(4) for user in orders[n % 2])
    )
    assert answers(results) == {"new": 160}
    assert {await split(reader, user) for user in users} == {(4, 0, 0)}
    await books_hold()


async def test_more_than_one_batch_holds(
    make_settings: Callable[..., Settings], open_ledger: OpenLedger, reader: Reader, books_hold: BooksHold
) -> None:
    """Goal: requests beyond the size of a batch go into the next ones, each answered once."""
    ledger = open_ledger(make_settings(WBS_BATCH_SIZE_MAX="7"))
    results = await asyncio.gather(*(ledger.submit(charge(1)) for _ in range(100)))
    assert answers(results) == {"new": 100}
    assert await split(reader) == (100, 0, 0)
    assert (await books_hold())["transfers"] == 100


async def test_one_key_for_different_wallets_from_two_processes(
    settings: Settings, open_ledger: OpenLedger, reader: Reader, books_hold: BooksHold
) -> None:
    """Goal: keys misused across wallets and processes, in crossed orders, neither deadlock nor move twice."""
    one, other = open_ledger(settings), open_ledger(settings)
    await asyncio.gather(one.submit(charge(1, user="ann")), other.submit(charge(1, user="bob")))
    for round_number in range(10):
        keys = [f"{round_number}-{n}" for n in range(20)]
        async with asyncio.timeout(60):
            results = await asyncio.gather(
                *(one.submit(charge(1, user="ann", key=key)) for key in keys),
                *(other.submit(charge(1, user="bob", key=key)) for key in reversed(keys)),
                return_exceptions=True,
            )
        assert answers(results) == {"new": 20, "IdempotencyKeyReused": 20}
    ann, bob = await split(reader, "ann"), await split(reader, "bob")
    assert ann[0] + bob[0] == 2 + 200
    await books_hold()


async def test_two_real_processes(
    database_url: str, reader: Reader, connection: asyncpg.Connection, books_hold: BooksHold
) -> None:
    """Goal: two operating system processes with the same work, keys and wallets do it once between them."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("writer_process.py")),
            database_url,
            str(seed),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT)},
        )
        for seed in (1, 2)
    ]
    async with asyncio.timeout(200):
        for process in processes:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
        told = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    outputs = [json.loads(output) for output, _ in told]
    new = [output["new"] for output in outputs]
    # 1,000 charges of 2 and 300 withdrawals of 3, each sent by both; nobody was ever short.
    assert sum(new) == 1300
    assert [output["replayed"] for output in outputs] == [1300 - new[0], 1300 - new[1]]
    assert min(new) > 0, "one of them came too late to compete"
    total = await connection.fetchval("select sum(available + held) from wallets")
    assert total == 1000 * 2 + 10 * 1000
    assert await connection.fetchval("select sum(held) from wallets") == 300 * 3
    await books_hold()

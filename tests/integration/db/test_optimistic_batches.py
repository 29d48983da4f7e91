"""A batch is first written as if nothing stood in its way. If that was too much, nothing of it stays."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import asyncpg
import pytest

from db.connections import Reader
from db.ledger import Ledger
from db.withdrawals import Withdrawals
from runtime.settings import Settings
from tests.integration.db.conftest import (
    Split,
    accepted,
    answers,
    charge,
    split,
    submit_twice,
    transfer,
    withdraw,
)
from tests.locks import in_a_month
from wallet.commands import LedgerCommand
from wallet.outcomes import Paid
from wallet.receipts import Recorded, WithdrawReceipt
from wallet.withdrawal import Status

BooksHold = Callable[[], Awaitable[dict[str, int]]]

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

BATCHES: dict[str, tuple[list[LedgerCommand], dict[str, int], Split]] = {
    # name: (requests of one batch, what is answered, the wallet of 10 afterwards)
    "one key twice": ([charge(5, key="k"), charge(5, key="k")], {"new": 1, "replayed": 1}, (15, 0, 0)),
    "one key, two requests": (
        [charge(5, key="k"), charge(6, key="k")],
        {"new": 1, "IdempotencyKeyReused": 1},
        (15, 0, 0),
    ),
    "a key of an earlier batch": (
        [charge(10, key="first"), charge(5)],
        {"new": 1, "replayed": 1},
        (15, 0, 0),
    ),
    "withdrawn before it was charged": (
        [withdraw(40), charge(100)],
        {"InsufficientFunds": 1, "new": 1},
        (110, 0, 0),
    ),
    "more than there is": ([charge(1), withdraw(40)], {"new": 1, "InsufficientFunds": 1}, (11, 0, 0)),
    "a release in the past": (
        [charge(5, release_at=LONG_AGO), charge(6)],
        {"ValidationFailed": 1, "new": 1},
        (16, 0, 0),
    ),
}


@pytest.mark.parametrize("name", BATCHES)
async def test_too_optimistic(
    name: str,
    settings: Settings,
    open_ledger: Callable[[Settings], Ledger],
    reader: Reader,
    books_hold: Callable[[], Awaitable[dict[str, int]]],
) -> None:
    """Goal: each request has its own answer, and only what was accepted has moved money."""
    requests, expected, wallet = BATCHES[name]
    await open_ledger(settings).submit(charge(10, key="first"))
    optimistic = open_ledger(settings)  # no batch has needed the locking writer yet
    results = await asyncio.gather(
        *(optimistic.submit(request) for request in requests), return_exceptions=True
    )
    assert answers(results) == expected
    assert await split(reader) == wallet
    await books_hold()


ROWS = {
    "wallets": "select available, locked, held, transactions,"
    " last_at = (select max(created_at) from transfers where user_id = $1) from wallets where user_id = $1",
    "transfers": "select kind, debit_account, credit_account, amount, total_after, available_after, locked_after,"
    " held_after, made_by, reference = id, release_at, metadata::text,"
    " created_at >= max(created_at) over (order by id) from transfers where user_id = $1 order by id",
    "locks": "select release_at, amount, charge_id in (select id from transfers where amount = locks.amount)"
    " from locks where user_id = $1 order by charge_id",
    "withdrawals": "select amount, status, destination::text, metadata::text, attempts, rounds, made_by,"
    " left(reference::text, 8) = (select bank_prefix from stack),"
    " status = 'completed' or (next_attempt_at, updated_at, ring_at) = (created_at, created_at, created_at + '30 s'),"
    " history_length, bank_reference,"
    " w.id in (select id from transfers),"
    " (select json_agg(json_build_array(seq, status, reason, at = w.created_at, at = w.updated_at))"
    " from withdrawal_history where withdrawal_id = w.id and user_id = w.user_id)::text,"
    " (select count(*) from outbox where withdrawal_id = w.id and user_id = w.user_id and created_at = w.created_at)"
    " from withdrawals as w where user_id = $1 order by id",
    "keys": "select client, key, fingerprint is not null, currency, (select kind from transfers where id = movement_id)"
    " from idempotency_keys as k where user_id = $1 order by movement_id",
}


async def test_both_ways_write_the_same(
    settings: Settings, open_ledger: Callable[[Settings], Ledger], connection: asyncpg.Connection
) -> None:
    """Goal: what one statement writes optimistically is what several write under locks, column by column."""
    later = in_a_month()

    def batch(user: str) -> list[LedgerCommand]:
        return [
            charge(5, user=user, key=f"{user}-1", metadata='{"a": 1}', by="shop"),
            withdraw(12, user=user, key=f"{user}-2", destination='{"iban": "x"}', metadata='"m"', by="app"),
            charge(7, user=user, key=f"{user}-3", release_at=later),
            withdraw(3, user=user, key=f"{user}-4"),
            charge(1, user=user, key=f"{user}-5"),
        ]

    await open_ledger(settings).submit(charge(10, user="otto", key="otto-0"))
    locking, optimistic = open_ledger(settings), open_ledger(settings)
    await submit_twice(locking, charge(10, user="lena", key="lena-0"))
    receipts = {}
    for user, ledger in (("lena", locking), ("otto", optimistic)):
        results = await asyncio.gather(*(ledger.submit(command) for command in batch(user)))
        receipts[user] = [
            (type(r.receipt), r.replayed, r.receipt._asdict() | {"id": "", "user_id": "", "created_at": ""})
            for r in results
        ]
        ids = [r.receipt.id for r in results]
        assert ids == sorted(ids)
        created = await connection.fetchval("select max(created_at) from transfers where user_id = $1", user)
        assert {r.receipt.created_at for r in results} == {created}
        milliseconds = int(created.timestamp() * 1000)
        assert {id.int >> 80 for id in ids} == {milliseconds}
    assert receipts["lena"] == receipts["otto"]
    await check_same_rows(connection)


async def test_payments_are_written_the_same_both_ways(
    settings: Settings,
    open_ledger: Callable[[Settings], Ledger],
    open_withdrawals: Callable[[Settings], Withdrawals],
    connection: asyncpg.Connection,
    books_hold: Callable[[], Awaitable[dict[str, int]]],
) -> None:
    """Goal: a batch of payments has the effect of single transitions, even if one of them was paid already."""
    ledger, withdrawals = open_ledger(settings), open_withdrawals(settings)
    for user in ("lena", "otto"):
        await ledger.submit(charge(100, user=user, key=f"{user}-0"))
        requests = [withdraw(amount, user=user, key=f"{user}-{amount}") for amount in (1, 2, 3, 4)]
        ids = [await accepted(ledger, request) for request in requests]
        attempts = [await withdrawals.begin_attempt(id, user) for id in ids]
        batch = [(attempt, Paid(f"p-{n}")) for n, attempt in enumerate(attempts) if attempt]
        if user == "lena":  # what is not processing any more makes the batch a locking one
            await withdrawals.settle(*batch[0])
        else:
            batch.pop(0)
            attempt = attempts[0]
            assert attempt is not None
            assert await withdrawals.settle(attempt, Paid("p-0")) is Status.COMPLETED
        statuses = await asyncio.gather(*(withdrawals.settle(*one) for one in batch))
        assert set(statuses) == {Status.COMPLETED}
    await check_same_rows(connection)
    assert (await books_hold())["transfers"] == 2 * (1 + 4 + 4)


async def check_same_rows(connection: asyncpg.Connection) -> None:
    """Compare the rows that both writers made, of which there must be some, column by column."""
    for table, query in ROWS.items():
        locking, optimistic = [
            [str(tuple(row)).replace(user, "") for row in await connection.fetch(query, user)]
            for user in ("lena", "otto")
        ]
        assert locking == optimistic, table
    assert locking, "nothing was compared"


async def test_what_is_in_doubt_goes_apart(ledger: Ledger, reader: Reader, books_hold: BooksHold) -> None:
    """Goal: refusals and replays among many charges get their answers; the others are written without them at once."""
    users = [f"user-{n}" for n in range(60)]
    await asyncio.gather(*(ledger.submit(charge(10, user=user, key=f"first {user}")) for user in users))
    ledger._locking_batches = 0
    commands: list[LedgerCommand] = [charge(1, user=user) for user in users[10:]]
    commands += [withdraw(11, user="user-0"), withdraw(5, user="user-1"), withdraw(6, user="user-1")]
    commands += [charge(10, user="user-2", key="first user-2"), charge(11, user="user-3", key="first user-3")]
    commands += [charge(2, user="nobody yet"), transfer("user-4", ("somebody new", 3))]
    results = await asyncio.gather(*map(ledger.submit, commands), return_exceptions=True)
    expected = {"new": 53, "replayed": 1, "InsufficientFunds": 2, "IdempotencyKeyReused": 1}
    assert answers(results) == expected
    assert ledger._locking_batches == 0
    assert await split(reader, "user-1") in ((5, 0, 5), (4, 0, 6))
    assert await split(reader, "nobody yet") == (2, 0, 0)
    assert await split(reader, "somebody new") == (3, 0, 0)
    await books_hold()


async def _fill(ledger: Ledger, users: list[str], amount: int) -> None:
    await asyncio.gather(*(ledger.submit(charge(amount, user=user)) for user in users))
    ledger._locking_batches = 0


async def test_one_statement_leaves_out_what_is_in_doubt(
    ledger: Ledger, reader: Reader, books_hold: BooksHold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: who has too little, or no wallet yet, is left out by the statement itself; nobody else is held up."""
    users = [f"user-{n}" for n in range(20)]
    await _fill(ledger, users, 10)
    monkeypatch.setattr(ledger._optimistic, "in_doubt", None)  # nobody has to ask
    commands: list[LedgerCommand] = [charge(1, user=user) for user in users[2:]]
    commands += [charge(5, user="user-0"), withdraw(16, user="user-0"), withdraw(3, user="user-1")]
    commands += [charge(2, user="nobody yet"), withdraw(4, user="user-9", destination='"x"')]
    results = await asyncio.gather(*map(ledger.submit, commands), return_exceptions=True)
    assert answers(results) == {"new": 22, "InsufficientFunds": 1}
    expected = {"user-0": (15, 0, 0), "user-1": (7, 0, 3), "user-9": (7, 0, 4), "nobody yet": (2, 0, 0)}
    assert {user: await split(reader, user) for user in expected} == expected
    await books_hold()


async def test_few_refusals_end_the_locking_way(ledger: Ledger, books_hold: BooksHold) -> None:
    """Goal: a batch under locks in which few are refused is the last such one; after many, or a replay, more follow."""
    users = [f"user-{n}" for n in range(20)]
    await _fill(ledger, users, 10)

    async def batches_to_come(*first: LedgerCommand) -> int:
        ledger._locking_batches = 5
        others = [charge(1, user=user) for user in users[len(first) :]]
        results = await asyncio.gather(*map(ledger.submit, [*first, *others]), return_exceptions=True)
        assert answers(results)["new"] == len(others)
        return ledger._locking_batches

    many: list[LedgerCommand] = [withdraw(100, user=user) for user in users[:6]]
    assert await batches_to_come(*many[:5]) == 0
    assert await batches_to_come(*many) == 8
    replay = charge(1, user="user-0", key="once")
    await ledger.submit(replay)
    assert await batches_to_come(replay) == 8
    assert await batches_to_come() == 4
    await books_hold()


async def test_a_part_of_a_batch_while_the_clock_is_back(
    ledger: Ledger, connection: asyncpg.Connection, books_hold: BooksHold
) -> None:
    """Goal: what is written of a batch has the instants and identifiers of its own wallets, raised where need be."""
    users = [f"user-{n}" for n in range(12)]
    await _fill(ledger, users, 10)
    later = "update wallets set last_at = now() + interval '1 hour' where user_id in ('user-3', 'user-7')"
    await connection.execute(later)
    commands: list[LedgerCommand] = [withdraw(11, user="user-1")]
    commands += [withdraw(n, user=f"user-{n}") for n in (2, 3, 4, 5, 6, 7, 8, 9)]
    results = await asyncio.gather(*map(ledger.submit, commands), return_exceptions=True)
    assert answers(results) == {"new": 8, "InsufficientFunds": 1}
    for result in results[1:]:
        assert isinstance(result, Recorded)
        receipt = result.receipt
        assert isinstance(receipt, WithdrawReceipt)
        query = "select user_id, amount, created_at from transfers where id = $1 and kind = 'reserve'"
        row = await connection.fetchrow(query, receipt.id)
        assert tuple(row) == (receipt.user_id, receipt.amount, receipt.created_at)
        assert receipt.user_id == f"user-{receipt.amount}"
    raised = "select user_id from transfers where created_at > now() order by user_id"
    assert [row[0] for row in await connection.fetch(raised)] == ["user-3", "user-7"]


async def test_a_part_is_not_written_in_part(
    ledger: Ledger, connection: asyncpg.Connection, reader: Reader, books_hold: BooksHold
) -> None:
    """Goal: where a row of such a part is swallowed, nothing of the part stays, and nobody is answered as if it did."""
    users = [f"user-{n}" for n in range(12)]
    await _fill(ledger, users, 10)
    await connection.execute(
        "create function nothing() returns trigger language plpgsql as 'begin return null; end';"
        "create trigger aa_swallow before insert on transfers for each row when (new.user_id = 'user-5')"
        " execute function nothing()"
    )
    commands: list[LedgerCommand] = [withdraw(11, user="user-1"), *(charge(1, user=u) for u in users[2:])]
    results = await asyncio.gather(*map(ledger.submit, commands), return_exceptions=True)
    assert await split(reader, "user-5") == (10, 0, 0)
    assert not isinstance(results[4], Recorded)
    written = await connection.fetchval("select count(*) from transfers where amount = 1")
    assert answers(results).get("new", 0) == written
    await books_hold()

"""From the version before: what it has written, and what its gateways still write while others are new already."""

import shutil
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest_asyncio
from pogo_core.util import migrate as pogo

from db import reads
from db.audit import Findings, audit_books
from db.connections import Reader
from db.ledger import Ledger
from db.migrate import MIGRATIONS, migrate
from db.withdrawals import Withdrawals
from runtime.settings import Settings
from tests.conftest import PATIENT
from tests.integration.db.conftest import accepted, charge, withdraw
from wallet.commands import LedgerCommand
from wallet.ids import uuid7_sequence
from wallet.outcomes import Declined, Paid

LAST_BEFORE = "20261122_05_outbox_order.sql"

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
LATER = AT + timedelta(days=10_000)
RELEASE_AT = {1: AT + timedelta(seconds=1.5), 3: LATER}
"""Of the charges that were locked: one is released already."""

Row = tuple[str, str, str, int, int, int, int, int | None]

# kind, debited, credited, amount; available, locked and held after; the row it refers to. One wallet's, in order.
BOOKS: list[Row] = [
    ("charge", "funding", "available", 100, 100, 0, 0, None),
    ("charge", "funding", "locked", 50, 100, 50, 0, None),
    ("release", "locked", "available", 50, 150, 0, 0, 1),
    ("charge", "funding", "locked", 7, 150, 7, 0, None),
    ("reserve", "available", "held", 30, 120, 7, 30, None),
    ("payout", "held", "bank", 30, 120, 7, 0, 4),
    ("return", "bank", "available", 30, 150, 7, 0, 4),
    ("reserve", "available", "held", 20, 130, 7, 20, None),
    ("refund", "held", "available", 20, 150, 7, 0, 7),
    ("reserve", "available", "held", 5, 145, 7, 5, None),
]


def id_of(number: int) -> UUID:
    """Return the identifier of a row of the books, the same always."""
    return next(uuid7_sequence(AT + timedelta(seconds=number), entropy=bytes(6)))


async def write_old(connection: asyncpg.Connection, number: int, user: str = "ann") -> None:
    """Write a row of the books as the version before did."""
    kind, debit, credit, amount, *after, refers_to = BOOKS[number]
    total = sum(split or 0 for split in after)
    await connection.execute(
        "insert into transfers (id, user_id, currency, kind, debit_account, credit_account, amount, total_after,"
        " reference, release_at, created_at) values ($1, $2, 'USD', $3, $4, $5, $6, $7, $8, $9, $10)",
        id_of(number), user, kind, debit, credit, amount, total,
        id_of(number if refers_to is None else refers_to),
        RELEASE_AT.get(number), AT + timedelta(seconds=number),
    )  # fmt: skip


async def fill_old(connection: asyncpg.Connection) -> None:
    """Fill the schema before with a wallet that has every kind of row, a withdrawal of each end, and keys."""
    await connection.execute(
        "insert into wallets (user_id, currency, available, locked, held, transactions)"
        " values ('ann', 'USD', 145, 7, 5, 6), ('empty', 'USD', 0, 0, 0, 0)"
    )
    for number in range(len(BOOKS)):
        await write_old(connection, number)
    await connection.execute(
        "insert into locks (user_id, currency, release_at, charge_id, amount) values ('ann', 'USD', $1, $2, 7)",
        LATER, id_of(3),
    )  # fmt: skip
    for number, status, amount in ((4, "returned", 30), (7, "failed", 20), (9, "processing", 5)):
        await connection.execute(
            "insert into withdrawals (id, user_id, currency, amount, status, attempts, history_length, bank_reference,"
            " failure_code, failure_reason, next_attempt_at, ring_at, created_at, updated_at)"
            " values ($1, 'ann', 'USD', $2, $3, 1, $4, $5, $7, $7, $6, $6, $6, $6)",
            id_of(number), amount, status, {"returned": 4, "failed": 3, "processing": 2}[status],
            "po_1" if status == "returned" else None, AT + timedelta(seconds=number),
            "declined" if status == "failed" else None,
        )  # fmt: skip
        path = ["processing", *(["completed"] if status == "returned" else []), status]
        for seq, step in enumerate(path if status != "processing" else path[:1], 2):
            await connection.execute(
                "insert into withdrawal_history (user_id, withdrawal_id, seq, status, at, reason)"
                " values ('ann', $1, $2, $3, $4, 'x')",
                id_of(number), seq, step, AT + timedelta(seconds=number),
            )  # fmt: skip
    for number in (0, 1, 3, 4, 7, 9):
        command: LedgerCommand
        if number in (4, 7, 9):
            command = withdraw(BOOKS[number][3], key=f"key {number}")
        else:
            command = charge(BOOKS[number][3], key=f"key {number}", release_at=RELEASE_AT.get(number))
        await connection.execute(
            "insert into idempotency_keys (client, key, fingerprint, user_id, currency, movement_id)"
            " values ('shop', $1, $2, 'ann', 'USD', $3)",
            f"key {number}", command.fingerprint()[1:], id_of(number),  # it said no version then
        )  # fmt: skip


@pytest_asyncio.fixture
async def before(empty_database_url: str, tmp_path: Path) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database of the version before, with data in it."""
    for file in MIGRATIONS.glob("*.sql"):
        if file.name <= LAST_BEFORE:
            shutil.copy(file, tmp_path)
    connection = await asyncpg.connect(empty_database_url, timeout=10)
    await pogo.apply(connection, tmp_path, schema_name="public")
    await fill_old(connection)
    yield connection
    await connection.close(timeout=10)


async def check_books(connection: asyncpg.Connection) -> None:
    """Check that each row has its split, and that the audit has nothing to say."""
    rows = await connection.fetch(
        "select available_after, locked_after, held_after from transfers where user_id = 'ann' order by id"
    )
    assert [tuple(row) for row in rows][: len(BOOKS)] == [row[4:7] for row in BOOKS]
    assert not any(None in row for row in rows)
    findings = Findings()
    await audit_books(connection, findings, lambda _: None)
    assert not findings.violations


async def test_what_was_written_before(before: asyncpg.Connection, empty_database_url: str) -> None:
    """Goal: every row gets the split it lacked, every wallet its latest instant; withdrawals keep their names."""
    await migrate(empty_database_url)
    await check_books(before)
    assert dict(await before.fetch("select user_id, last_at > '-infinity' from wallets")) == {
        "ann": True,
        "empty": False,
    }
    last_at = await before.fetchval("select last_at from wallets where user_id = 'ann'")
    assert last_at == AT + timedelta(seconds=len(BOOKS) - 1)
    assert await before.fetch("select from withdrawals where reference is not null") == []


async def test_the_service_goes_on_from_there(
    before: asyncpg.Connection,
    empty_database_url: str,
    open_ledger: Callable[[Settings], Ledger],
    open_withdrawals: Callable[[Settings], Withdrawals],
) -> None:
    """Goal: old keys are known, old withdrawals end, and new rows follow from the old ones."""
    await migrate(empty_database_url)
    settings = Settings.from_env({**PATIENT, "DATABASE_URL": empty_database_url})
    ledger, withdrawals, reader = (
        open_ledger(settings),
        open_withdrawals(settings),
        Reader(settings.database, 1),
    )
    for number, again in ((0, charge(100, key="key 0")), (4, withdraw(30, key="key 4"))):
        replay = await ledger.submit(again)
        assert (replay.receipt.id, replay.replayed) == (id_of(number), True)
    assert (await reads.withdrawal_by_key(reader, "shop", "key 7")).id == id_of(7)
    assert (await reads.withdrawal(reader, id_of(9))).reference is None
    attempt = await withdrawals.begin_attempt(id_of(9), "ann")
    assert attempt is not None
    await withdrawals.settle(attempt, Paid("po_2"))
    new = await accepted(ledger, withdraw(145))
    attempt = await withdrawals.begin_attempt(new, "ann")
    assert attempt is not None
    await withdrawals.settle(attempt, Declined("closed"))
    reader.terminate()
    await check_books(before)


async def test_what_old_gateways_write_meanwhile(before: asyncpg.Connection, empty_database_url: str) -> None:
    """Goal: `wbs migrate` also fills in what gateways of the version before wrote since it was run last."""
    await before.execute("insert into wallets (user_id, currency) values ('bob', 'USD')")
    await migrate(empty_database_url)
    for number in range(2):
        await write_old(before, number, "bob")
    lacking = "select count(*) from transfers where available_after is null"
    assert await before.fetchval(lacking) == 2
    await migrate(empty_database_url)
    rows = await before.fetch(
        "select available_after, locked_after, held_after from transfers where user_id = 'bob' order by id"
    )
    assert [tuple(row) for row in rows] == [(100, 0, 0), (100, 50, 0)]
    last_at = await before.fetchval("select last_at from wallets where user_id = 'bob'")
    assert last_at == AT + timedelta(seconds=1)


async def test_rows_that_do_not_add_up(before: asyncpg.Connection, empty_database_url: str) -> None:
    """Goal: a row that contradicts the rows before it gets no split made up for it: it stays, for the audit to name."""
    await before.execute("alter table transfers disable trigger all")
    await before.execute("update transfers set total_after = total_after + 1 where id = $1", id_of(4))
    await before.execute("alter table transfers enable trigger all")
    await migrate(empty_database_url)
    lacking = await before.fetch("select id from transfers where available_after is null")
    assert [row["id"] for row in lacking] == [id_of(4)]

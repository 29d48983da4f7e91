"""Captures are first written by one statement; what it can't take is decided under locks. Both write the same."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest

import db.follow_up_writer
import db.optimistic_writer
from db.connections import Reader
from db.errors import Rejected
from db.ledger import Ledger
from runtime.settings import Settings
from tests.integration.db.conftest import answers, charge, hold, split
from tests.locks import in_a_month, in_an_hour, mature
from wallet.commands import Leg
from wallet.follow_up_commands import CaptureHold, FollowUp, VoidHold
from wallet.receipts import HoldReceipt

BooksHold = Callable[[], Awaitable[dict[str, int]]]
OpenLedger = Callable[[Settings], Ledger]

# Rows of one user's holds and transfers, without what is new in each run.
ROWS = {
    "wallets": "select user_id, available, locked, held, transactions,"
    " last_at = (select max(created_at) from transfers as t where t.user_id = w.user_id) from wallets as w",
    "transfers": "select user_id, kind, debit_account, credit_account, amount, total_after, available_after,"
    " locked_after, held_after, made_by, peer_user_id, release_at, metadata::text, effective_at, reference = id,"
    " (select kind from transfers as o where o.id = t.reference), created_at >= max(created_at) over (order by id)"
    " from transfers as t order by id",
    "legs": "select from_user_id, leg, to_user_id, currency, amount, reversed, release_at,"
    " (select kind from transfers where id = receive_id), (select kind from transfers where id = transfer_id)"
    " from transfer_legs order by transfer_id, leg",
    "holds": "select user_id, amount, captured, status, expires_at, metadata::text, made_by,"
    " (select amount from transfers where id = transfer_id),"
    " ended_at = (select max(created_at) from transfers as t where t.user_id = h.user_id) from holds as h order by id",
    "locks": "select user_id, release_at, amount, account,"
    " charge_id in (select id from transfers where amount = locks.amount) from locks order by charge_id",
    "keys": "select client, key, length(fingerprint), user_id, currency,"
    " (select kind from transfers where id = movement_id) from idempotency_keys order by client, key",
}


async def _rows(connection: asyncpg.Connection, prefix: str) -> dict[str, list[str]]:
    """Return the rows of the users whose names begin so, as if they were called otherwise."""
    found = {}
    for table, query in ROWS.items():
        rows = [str(tuple(row)) for row in await connection.fetch(query)]
        found[table] = sorted(row.replace(prefix, "") for row in rows if f"{prefix}-" in row)
    return found


async def _captures(ledger: Ledger, prefix: str, later: datetime) -> list[FollowUp]:
    """Place holds of users with this prefix, and return captures of all their kinds."""
    users = [f"{prefix}-{name}" for name in ("ann", "bob", "carl")]
    await asyncio.gather(*(ledger.submit(charge(100, user=user, key=f"{user} first")) for user in users))
    ann, bob, carl = users
    holds = [
        hold(10, user=ann, key=f"{prefix}-1", metadata='{"a": 1}'),
        hold(20, user=ann, key=f"{prefix}-2", expires_at=later),
        hold(30, user=bob, key=f"{prefix}-3"),
        hold(40, user=carl, key=f"{prefix}-4", expires_at=later),
    ]
    placed = [(await ledger.submit(one)).receipt.id for one in holds]
    return [
        CaptureHold("shop", f"{prefix}-a", placed[0], to_user_id=bob, by="shop key"),
        CaptureHold("shop", f"{prefix}-b", placed[1], (Leg(bob, 5), Leg(carl, 6, later))),
        CaptureHold("shop", f"{prefix}-c", placed[2], (Leg(ann, 29),), by="app key"),
        CaptureHold("shop", f"{prefix}-d", placed[3], to_user_id=bob, release_at=later),
    ]


async def test_both_ways_write_the_same(
    settings: Settings,
    open_ledger: OpenLedger,
    connection: asyncpg.Connection,
    books_hold: BooksHold,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Goal: what one statement writes is what several write under locks, column by column, and so are the answers."""
    found: dict[str, Any] = {}
    later = in_a_month()
    for prefix in ("lena", "otto"):
        ledger = open_ledger(settings)
        commands = await _captures(ledger, prefix, later)
        if prefix == "lena":

            async def has_to_lock(*_: Any) -> Rejected:
                return Rejected("it has to be locked")

            monkeypatch.setattr(db.follow_up_writer, "_capture_at_once", has_to_lock)
        else:
            monkeypatch.undo()
            monkeypatch.setattr(db.follow_up_writer, "write_under_locks", None)  # that would fail
        outcomes = await asyncio.gather(*map(ledger.follow_up, commands))
        receipts = [one.receipt for one in outcomes if isinstance(one.receipt, HoldReceipt)]
        new = {"id": "", "user_id": "", "created_at": "", "transfer_id": ""}
        found[prefix] = await _rows(connection, prefix) | {"receipts": [r._asdict() | new for r in receipts]}
        query = "select transfer_id from holds where user_id like $1 order by id"
        made = [row[0] for row in await connection.fetch(query, f"{prefix}-%")]
        assert [receipt.transfer_id for receipt in receipts] == made
    assert found["lena"] == found["otto"]
    assert len(found["otto"]["transfers"]) == 3 + 4 + 4 + 5 + 2
    await books_hold()


@pytest.mark.parametrize("meanwhile", ["captured", "voided", "over", "used key", "no such payee"])
async def test_what_changes_between_look_and_lock(
    meanwhile: str,
    settings: Settings,
    open_ledger: OpenLedger,
    connection: asyncpg.Connection,
    reader: Reader,
    books_hold: BooksHold,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Goal: a hold that ends after it was looked at is captured by nobody else; the others of the batch are."""
    ledger, other = open_ledger(settings), open_ledger(settings)
    await ledger.submit(charge(100))
    await ledger.submit(charge(1, user="bob", key="used"))
    ids = [(await ledger.submit(hold(10, expires_at=in_an_hour()))).receipt.id for _ in range(2)]
    payee = "nobody yet" if meanwhile == "no such payee" else "bob"
    commands = [
        CaptureHold("shop", "used" if meanwhile == "used key" else "k", ids[0], (Leg(payee, 10),)),
        CaptureHold("shop", "l", ids[1], (Leg("bob", 4),)),
    ]
    steps: list[UUID] = []
    write = db.optimistic_writer.write_captures

    async def after_it_was_looked_at(*arguments: Any) -> Any:
        if not steps:
            steps.append(ids[0])
            if meanwhile == "captured":
                await other.follow_up(CaptureHold("shop", "m", ids[0], (Leg("bob", 3),)))
            elif meanwhile == "voided":
                await other.follow_up(VoidHold(ids[0]))
            elif meanwhile == "over":
                await mature(connection)
        return await write(*arguments)

    monkeypatch.setattr(db.follow_up_writer, "write_captures", after_it_was_looked_at)
    results = await asyncio.gather(*map(ledger.follow_up, commands), return_exceptions=True)
    expected = {
        "captured": ({"HoldNotOpen": 1, "new": 1}, (93, 0, 0), (8, 0, 0)),
        "voided": ({"HoldNotOpen": 1, "new": 1}, (96, 0, 0), (5, 0, 0)),
        "over": ({"HoldNotOpen": 2}, (100, 0, 0), (1, 0, 0)),
        "used key": ({"IdempotencyKeyReused": 1, "new": 1}, (86, 0, 10), (5, 0, 0)),
        "no such payee": ({"new": 2}, (86, 0, 0), (5, 0, 0)),
    }
    assert (answers(results), await split(reader), await split(reader, "bob")) == expected[meanwhile]
    await books_hold()


async def test_two_processes_capture_the_same_holds(
    settings: Settings, open_ledger: OpenLedger, reader: Reader, books_hold: BooksHold
) -> None:
    """Goal: each hold is captured once, whoever comes first, and nobody waits for ever."""
    ledgers = [open_ledger(settings) for _ in range(2)]
    await ledgers[0].submit(charge(1_000))
    await ledgers[0].submit(charge(1, user="bob"))
    ids = [(await ledgers[0].submit(hold(1))).receipt.id for _ in range(20)]
    commands = [
        (ledger, CaptureHold("shop", f"{n}-{id}", id, (Leg("bob", 1),)))
        for n, ledger in enumerate(ledgers)
        for id in (ids if n else reversed(ids))
    ]
    results = await asyncio.gather(*(ledger.follow_up(c) for ledger, c in commands), return_exceptions=True)
    assert answers(results) == {"new": 20, "HoldNotOpen": 20}
    assert (await split(reader), await split(reader, "bob")) == ((980, 0, 0), (21, 0, 0))
    await books_hold()

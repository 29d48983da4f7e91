"""Transfers, holds, captures, voids and reversals, through both writers, by one process and by two."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from db import transfer_reads
from db.connections import Reader
from db.errors import Rejected
from db.ledger import Ledger
from db.locking_writer import LockingWriter
from runtime.settings import Settings
from tests.integration.db.conftest import (
    answers,
    charge,
    hold,
    split,
    transfer,
    waiting_for_locks,
    withdraw,
)
from tests.locks import in_an_hour, mature
from tests.polling import poll_until
from wallet.adjustments import Adjust
from wallet.commands import LedgerCommand, Leg, MakeTransfer
from wallet.errors import (
    CaptureExceedsHold,
    ExceedsOriginal,
    HoldNotFound,
    HoldNotOpen,
    IdempotencyKeyReused,
    InsufficientFunds,
    ValidationFailed,
)
from wallet.follow_up_commands import CaptureHold, FollowUp, ReverseCharge, ReverseTransfer, VoidHold
from wallet.receipts import HoldReceipt, Recorded, TransferReceipt

OpenLedger = Callable[[Settings], Ledger]

SUMS = """
select user_id, sum(case 'available' when credit_account then amount when debit_account then -amount else 0 end),
    sum(case 'locked' when credit_account then amount when debit_account then -amount else 0 end),
    sum(case 'held' when credit_account then amount when debit_account then -amount else 0 end)
from transfers group by user_id
"""
PEER = """
select reference from transfers where 'peer' in (debit_account, credit_account) group by reference
having sum(case debit_account when 'peer' then -amount else amount end) <> 0
"""


@pytest_asyncio.fixture(params=[1, 2], ids=["one process", "two processes"])
async def ledgers(
    request: pytest.FixtureRequest, settings: Settings, open_ledger: OpenLedger
) -> list[Ledger]:
    """One ledger, or two that know nothing of each other."""
    return [open_ledger(settings) for _ in range(request.param)]


@pytest.fixture(params=[False, True], ids=["optimistic", "locking"])
def locking(request: pytest.FixtureRequest, ledger: Ledger) -> bool:
    """Whether the next batches are written under locks."""
    ledger._locking_batches = 1_000 if request.param else 0
    return bool(request.param)


async def hold_books(connection: asyncpg.Connection) -> None:
    """Require that each balance is the sum of its rows, and that peer is zero for each transfer."""
    sums = {row[0]: tuple(row)[1:] for row in await connection.fetch(SUMS)}
    rows = await connection.fetch("select user_id, available, locked, held from wallets")
    assert {row[0]: tuple(row)[1:] for row in rows} == {row[0]: sums.get(row[0], (0, 0, 0)) for row in rows}
    assert not await connection.fetch(PEER)


async def ids(ledger: Ledger, *commands: LedgerCommand) -> list[UUID]:
    """Submit commands at once and return the identifiers of their receipts."""
    return [one.receipt.id for one in await asyncio.gather(*map(ledger.submit, commands))]


def capture(hold_id: UUID, *legs: tuple[str, int], key: str | None = None) -> CaptureHold:
    """Return a capture of a hold."""
    return CaptureHold("shop", key or uuid4().hex, hold_id, tuple(Leg(*leg) for leg in legs))


def undo(charge_id: UUID, amount: int | None = None, key: str | None = None) -> ReverseCharge:
    """Return a reversal of a charge."""
    return ReverseCharge("shop", key or uuid4().hex, charge_id, amount)


def take_back(transfer_id: UUID, *legs: tuple[int, int], amount: int | None = None) -> ReverseTransfer:
    """Return a reversal of a transfer."""
    return ReverseTransfer("shop", uuid4().hex, transfer_id, legs, amount)


async def refused(waiting: Any, kind: type[Exception]) -> None:
    """Require that a command is refused in this way."""
    with pytest.raises(kind):
        await waiting


async def test_a_transfer_of_several_legs(
    ledger: Ledger, reader: Reader, connection: asyncpg.Connection, locking: bool
) -> None:
    """Goal: all legs arrive, the locked one locked; a replay gives the same receipt, and nothing moves twice."""
    await ledger.submit(charge(100))
    later = in_an_hour()
    legs = (Leg("bob", 30), Leg("carl", 20, later), Leg("bob", 1))
    command = MakeTransfer("shop", "k", "ann", "USD", 51, legs, '{"a":1}', "shop key")
    made = await ledger.submit(command)
    assert isinstance(made.receipt, TransferReceipt)
    assert (made.receipt.legs, made.receipt.amount) == (legs, 51)
    assert await ledger.submit(command) == Recorded(made.receipt, replayed=True)
    assert await split(reader) == (49, 0, 0)
    assert await split(reader, "bob") == (31, 0, 0)
    assert await split(reader, "carl") == (0, 20, 0)
    found = await transfer_reads.transfer(reader, made.receipt.id)
    assert found == (made.receipt, (0, 0, 0))
    rows = await connection.fetch("select made_by from transfers where kind in ('send', 'receive')")
    assert [row["made_by"] for row in rows] == ["shop key"] * 4
    await hold_books(connection)


async def test_money_that_comes_and_goes_on_in_one_batch(
    connection: asyncpg.Connection, reader: Reader
) -> None:
    """Goal: what a batch brings into new wallets is passed on within it, to wallets that are new as well."""
    writer = LockingWriter(timedelta(seconds=30), None)
    passed_on = [transfer("ann", ("bob", 60)), transfer("bob", ("carl", 50), ("dora", 10))]
    commands: list[LedgerCommand] = [charge(100), *passed_on]
    while isinstance(written := await writer.write(connection, commands), Rejected):
        await writer.prepare(connection, written)
    assert all(isinstance(one, Recorded) for one in written)
    assert [(await split(reader, user))[0] for user in ("ann", "bob", "carl", "dora")] == [40, 0, 50, 10]
    await hold_books(connection)


async def test_all_legs_or_none(
    ledger: Ledger, reader: Reader, connection: asyncpg.Connection, locking: bool
) -> None:
    """Goal: a transfer that its payer can't pay whole moves nothing, and leaves its key free."""
    await ledger.submit(charge(10))
    await refused(ledger.submit(transfer("ann", ("bob", 6), ("carl", 5), key="k")), InsufficientFunds)
    await refused(ledger.submit(transfer("nobody", ("bob", 1))), InsufficientFunds)
    await ledger.submit(transfer("ann", ("bob", 5), ("carl", 5), key="k"))
    assert [await split(reader, user) for user in ("ann", "bob", "carl")] == [(0, 0, 0), (5, 0, 0), (5, 0, 0)]
    await refused(ledger.submit(transfer("ann", ("bob", 1), key="k")), IdempotencyKeyReused)
    await hold_books(connection)


async def test_crossings(ledgers: list[Ledger], reader: Reader, connection: asyncpg.Connection) -> None:
    """Goal: back and forth, in rings of 50 and everybody to one at once: no deadlock, and the money is all there."""
    users = [f"user-{n}" for n in range(50)]
    await asyncio.gather(*(ledgers[0].submit(charge(100, user=user)) for user in users))
    pairs = list(zip(users, users[1:] + users[:1], strict=True))
    commands = [transfer(payer, (payee, 1)) for a, b in pairs for payer, payee in ((a, b), (b, a))]
    commands += [transfer(user, ("user-7", 2)) for user in users if user != "user-7"]
    results = await asyncio.gather(*(ledgers[n % len(ledgers)].submit(one) for n, one in enumerate(commands)))
    assert answers(results) == {"new": len(commands)}
    assert await split(reader, "user-7") == (198, 0, 0)
    assert await connection.fetchval("select sum(available) from wallets") == 5_000
    await hold_books(connection)


async def test_many_rows_in_few_requests(ledger: Ledger, connection: asyncpg.Connection) -> None:
    """Goal: 512 requests of 51 rows each at once are all written: what is cut is a batch, never a request."""
    users = [f"user-{n}" for n in range(50)]
    await ledger.submit(charge(1_000_000))
    commands = [transfer("ann", *((user, 1) for user in users)) for _ in range(512)]
    assert answers(await asyncio.gather(*map(ledger.submit, commands))) == {"new": 512}
    assert await connection.fetchval("select count(*) from transfer_legs") == 512 * 50
    await hold_books(connection)


async def test_a_hold_and_its_capture(
    ledger: Ledger, reader: Reader, connection: asyncpg.Connection, locking: bool
) -> None:
    """Goal: a hold reserves; a capture pays several out of it and gives the rest back; each answer is replayable."""
    await ledger.submit(charge(100))
    placed = await ledger.submit(hold(40, key="h", metadata="{}", expires_at=in_an_hour()))
    assert isinstance(placed.receipt, HoldReceipt)
    assert await split(reader) == (60, 0, 40)
    command = capture(placed.receipt.id, ("bob", 10), ("carl", 15))
    captured = await ledger.follow_up(command)
    assert isinstance(captured.receipt, HoldReceipt)
    assert (captured.receipt.status, captured.receipt.captured) == ("captured", 25)
    assert await ledger.follow_up(command) == Recorded(captured.receipt, replayed=True)
    again = await ledger.submit(hold(40, key="h", metadata="{}", expires_at=placed.receipt.expires_at))
    assert again == Recorded(placed.receipt, replayed=True)
    assert [await split(reader, user) for user in ("ann", "bob", "carl")] == [
        (75, 0, 0),
        (10, 0, 0),
        (15, 0, 0),
    ]
    assert captured.receipt.transfer_id is not None
    made = await transfer_reads.transfer(reader, captured.receipt.transfer_id)
    assert [leg[:2] for leg in made.receipt.legs] == [("bob", 10), ("carl", 15)]
    await refused(ledger.follow_up(VoidHold(placed.receipt.id)), HoldNotOpen)
    await refused(ledger.follow_up(capture(placed.receipt.id, ("bob", 1))), HoldNotOpen)
    await ledger.follow_up(take_back(made.receipt.id))
    assert await split(reader) == (100, 0, 0)
    assert await connection.fetchval("select count(*) from locks") == 0
    await hold_books(connection)


async def test_what_a_capture_refuses(ledger: Ledger, connection: asyncpg.Connection) -> None:
    """Goal: more than was held, to the holder, of a hold that is not there: refused, and the hold stays open."""
    await ledger.submit(charge(100))
    [id] = await ids(ledger, hold(40))
    await refused(ledger.follow_up(capture(id, ("bob", 41))), CaptureExceedsHold)
    await refused(ledger.follow_up(capture(id, ("ann", 1))), ValidationFailed)
    await refused(ledger.follow_up(capture(uuid4(), ("bob", 1))), HoldNotFound)
    await refused(ledger.follow_up(VoidHold(uuid4())), HoldNotFound)
    other = CaptureHold("shop", uuid4().hex, id, (Leg("bob", 1),), user_prefix="partner-")
    await refused(ledger.follow_up(other), HoldNotFound)
    await ledger.follow_up(capture(id, ("bob", 40)))
    await hold_books(connection)


async def test_voiding_is_idempotent(ledger: Ledger, reader: Reader, connection: asyncpg.Connection) -> None:
    """Goal: a hold that is voided by many at once gives its money back once, and everybody gets the same answer."""
    await ledger.submit(charge(100))
    [id] = await ids(ledger, hold(40))
    outcomes = await asyncio.gather(*(ledger.follow_up(VoidHold(id)) for _ in range(20)))
    assert {one.receipt.status for one in outcomes if isinstance(one.receipt, HoldReceipt)} == {"voided"}
    assert await split(reader) == (100, 0, 0)
    await hold_books(connection)


@pytest.mark.parametrize("way", ["read", "withdraw", "transfer", "hold", "capture", "void"])
async def test_an_expired_hold_is_over_from_its_instant(
    ledger: Ledger, reader: Reader, connection: asyncpg.Connection, way: str, locking: bool
) -> None:
    """Goal: nobody has written its expiry, and yet its money is there for all, and the hold can't be used."""
    await ledger.submit(charge(100))
    [id] = await ids(ledger, hold(100, expires_at=in_an_hour()))
    await refused(ledger.submit(withdraw(1)), InsufficientFunds)
    await mature(connection)
    assert await split(reader) == (100, 0, 0)
    assert (await transfer_reads.hold(reader, id)).status == "expired"
    commands: dict[str, LedgerCommand] = {
        "withdraw": withdraw(60),
        "transfer": transfer("ann", ("bob", 60)),
        "hold": hold(60),
    }
    if way in commands:
        await ledger.submit(commands[way])
        row = await connection.fetchrow("select status, ended_at from holds where id = $1", id)
        assert row["status"] == "expired"
        late = await connection.fetchrow("select * from transfers where kind = 'void'")
        assert late["effective_at"] < late["created_at"]
    elif way == "capture":
        await refused(ledger.follow_up(capture(id, ("bob", 1))), HoldNotOpen)
    elif way == "void":
        await refused(ledger.follow_up(VoidHold(id)), HoldNotOpen)
    await hold_books(connection)


async def test_two_reversals_at_once(
    ledgers: list[Ledger], reader: Reader, connection: asyncpg.Connection
) -> None:
    """Goal: of two reversals of 60 of a charge of 100, from anywhere, one takes effect and the other is refused."""
    for n in range(10):
        id, _ = await ids(ledgers[0], *(charge(100, user=f"user-{n}") for _ in range(2)))
        results = await asyncio.gather(
            *(ledger.follow_up(undo(id, 60)) for ledger in (ledgers * 2)[:2]), return_exceptions=True
        )
        assert answers(results) == {"new": 1, "ExceedsOriginal": 1}
        assert await split(reader, f"user-{n}") == (140, 0, 0)
    await hold_books(connection)


async def test_reversals_of_a_charge(ledger: Ledger, reader: Reader, connection: asyncpg.Connection) -> None:
    """Goal: in parts, then the rest, never more; a replay says the same; spent money is not there to be taken."""
    [id] = await ids(ledger, charge(100))
    first = undo(id, 30)
    made = await ledger.follow_up(first)
    await refused(ledger.follow_up(undo(id, 71)), ExceedsOriginal)
    await ledger.submit(withdraw(20))
    await refused(ledger.follow_up(undo(id)), InsufficientFunds)
    await ledger.submit(charge(20))
    await ledger.follow_up(undo(id))
    await refused(ledger.follow_up(undo(id)), ExceedsOriginal)
    assert await ledger.follow_up(first) == Recorded(made.receipt, replayed=True)
    assert await split(reader) == (0, 0, 20)
    assert (await transfer_reads.charge(reader, id)).reversed == 100
    await hold_books(connection)


@pytest.mark.parametrize("matured", [False, True], ids=["locked", "matured"])
async def test_reversals_of_locked_money(
    ledger: Ledger, reader: Reader, connection: asyncpg.Connection, matured: bool
) -> None:
    """Goal: locked money is taken from its lock; once due it is released first; what is left is released as planned."""
    [id] = await ids(ledger, charge(100, release_at=in_an_hour()))
    await ledger.submit(charge(5))
    await ledger.follow_up(undo(id, 30))
    assert await split(reader) == (5, 70, 0)
    assert await connection.fetchval("select amount from locks") == 70
    if matured:
        await mature(connection)
        await ledger.follow_up(undo(id, 30))
        assert await split(reader) == (45, 0, 0)
        kinds = await connection.fetch("select kind, debit_account from transfers order by id desc limit 2")
        assert [tuple(row) for row in kinds] == [("reversal", "available"), ("release", "locked")]
    else:
        await ledger.follow_up(undo(id))
        assert await split(reader) == (5, 0, 0)
    assert await connection.fetchval("select count(*) from locks") == 0
    await hold_books(connection)


async def test_transfers_are_taken_back(
    ledger: Ledger, reader: Reader, connection: asyncpg.Connection
) -> None:
    """Goal: leg by leg, in parts, locked or not; all legs that are named or none; never more than there was."""
    await ledger.submit(charge(100))
    later = in_an_hour()
    made = transfer("ann", ("bob", 30), ("carl", 20), release_at=later)
    [locked] = await ids(ledger, made)
    [free] = await ids(ledger, transfer("ann", ("bob", 10), ("carl", 10)))
    await ledger.follow_up(take_back(locked, (2, 5)))
    assert await split(reader, "carl") == (10, 15, 0)
    await ledger.submit(withdraw(8, user="carl"))
    await refused(ledger.follow_up(take_back(free)), InsufficientFunds)
    assert await split(reader, "bob") == (10, 30, 0)
    await refused(ledger.follow_up(take_back(free, amount=1)), ValidationFailed)
    await refused(ledger.follow_up(take_back(free, (3, 1))), ValidationFailed)
    await refused(ledger.follow_up(take_back(free, (1, 11))), ExceedsOriginal)
    await ledger.follow_up(take_back(free, (1, 10), (2, 2)))
    await ledger.follow_up(take_back(locked))
    await refused(ledger.follow_up(take_back(locked)), ExceedsOriginal)
    assert [await split(reader, user) for user in ("ann", "bob")] == [(92, 0, 0), (0, 0, 0)]
    assert (await transfer_reads.transfer(reader, free)).reversed == 12
    await hold_books(connection)


async def test_a_payee_that_is_held_elsewhere_harms_only_its_own(
    ledger: Ledger, connection: asyncpg.Connection
) -> None:
    """Goal: while a payee's wallet is locked by another session, its payers go on with all the rest."""
    for user in ("ann", "stuck", "bob"):
        await ledger.submit(charge(1_000, user=user))
    async with connection.transaction():
        await connection.execute("select 1 from wallets where user_id = 'stuck' for update")
        waiting = ledger.submit(transfer("ann", ("stuck", 1)))
        for _ in range(20):
            await ledger.submit(transfer("ann", ("bob", 1)))
        assert not waiting.done() or waiting.exception() is not None
    results = await asyncio.gather(waiting, return_exceptions=True)
    assert isinstance(results[0], Recorded | Exception)
    await hold_books(connection)


async def test_one_key_at_once_from_two_processes(
    settings: Settings, open_ledger: OpenLedger, connection: asyncpg.Connection
) -> None:
    """Goal: of two that wait for one wallet with one key, the second gets the first one's answer, not a refusal."""
    ledgers = [open_ledger(settings) for _ in range(2)]
    for ledger in ledgers:
        ledger._locking_batches = 1_000
    users = [f"user-{n}" for n in range(6)]
    charged = await ids(ledgers[0], *(charge(100, user=user) for user in users))
    sent = await ids(ledgers[0], transfer(users[0], ("bob", 100)))
    commands: list[LedgerCommand | FollowUp] = [
        take_back(sent[0]),
        withdraw(100, user=users[1]),
        hold(100, user=users[2]),
        transfer(users[3], ("carl", 100)),
        undo(charged[4]),
        Adjust("shop", uuid4().hex, users[5], "USD", -100, "all of it", "operator"),
    ]

    def submit(ledger: Ledger, command: LedgerCommand | FollowUp) -> asyncio.Future[Recorded]:
        if isinstance(command, LedgerCommand):
            return ledger.submit(command)
        return ledger.follow_up(command)

    for command in commands:
        async with connection.transaction():
            await connection.execute("select from wallets for update")
            waiting = [submit(ledger, command) for ledger in ledgers]
            await poll_until(lambda: both_wait(connection))
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert answers(results) == {"new": 1, "replayed": 1}, command
    await hold_books(connection)


async def both_wait(connection: asyncpg.Connection) -> bool:
    """Tell whether two sessions wait for a lock."""
    return await waiting_for_locks(connection) == 2

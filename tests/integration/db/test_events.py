"""The sequence of events: every change once, in an order that agrees with each wallet's, whoever numbers it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from msgspec.structs import replace

from db import events
from db.adoptions import BankPayout, adopt_payout
from db.connections import Reader
from db.courier import CourierSession
from db.errors import CONNECTION_ERRORS
from db.ledger import Ledger
from db.reconciliation import WithdrawalRow
from db.releases import release_matured
from db.stack import Server
from db.withdrawals import Withdrawals
from runtime.settings import Settings
from tests.integration.db.conftest import accepted, charge, hold, transfer, withdraw
from tests.integration.link import Link
from tests.integration.sequence import require_order, told
from tests.locks import in_an_hour, mature
from wallet.commands import Leg
from wallet.errors import EventsGone, Unavailable
from wallet.events import KINDS, TYPES, Event
from wallet.follow_up_commands import CaptureHold, ReverseCharge, ReverseTransfer, VoidHold
from wallet.outcomes import Declined, Paid, Returned, RoundOutcome, Unresolved
from wallet.traces import Trace

Open = Callable[..., CourierSession]


@pytest_asyncio.fixture
async def couriers(settings: Settings) -> AsyncIterator[Open]:
    """`couriers(kinds)`: further couriers, each with a connection of its own; all take the lead at once."""
    opened: list[CourierSession] = []

    def open_(kinds: frozenset[str] = frozenset(KINDS)) -> CourierSession:
        opened.append(CourierSession(settings.database, kinds))
        return opened[-1]

    yield open_
    for courier in opened:
        await courier.close()


async def number(courier: CourierSession) -> None:
    """Give numbers to all that waits."""
    assert await courier.lead()
    while (await courier.number()).batches:
        pass


async def settle(withdrawals: Withdrawals, ledger: Ledger, outcome: RoundOutcome) -> UUID:
    """Have a withdrawal of 2 accepted, begun and settled so."""
    id = await accepted(ledger, withdraw(2))
    attempt = await withdrawals.begin_attempt(id, "ann")
    assert attempt is not None
    await withdrawals.settle(attempt, outcome)
    return id


async def one_of_each(ledger: Ledger, withdrawals: Withdrawals, connection: asyncpg.Connection) -> None:
    """Do what every type of event tells."""
    charged = await accepted(ledger, charge(1_000, metadata='{"a":1.10}', by="shop key"))
    await ledger.submit(charge(50, release_at=in_an_hour()))
    paid = await accepted(ledger, transfer("ann", ("bob", 30), ("carl", 20)))
    await ledger.submit(transfer("ann", ("dora", 5), release_at=in_an_hour()))
    holds = [await accepted(ledger, hold(40)) for _ in range(3)]
    await ledger.submit(hold(10, expires_at=in_an_hour()))
    await ledger.follow_up(CaptureHold("shop", uuid4().hex, holds[0], (Leg("bob", 15),)))
    await ledger.follow_up(CaptureHold("shop", uuid4().hex, holds[1], (Leg("bob", 40),)))
    await ledger.follow_up(VoidHold(holds[2]))
    await ledger.follow_up(ReverseCharge("shop", uuid4().hex, charged, 10))
    await ledger.follow_up(ReverseTransfer("shop", uuid4().hex, paid, ((2, 5),)))
    await mature(connection)
    while await release_matured(connection):
        pass
    await withdrawals.cancel(await accepted(ledger, withdraw(1)))
    await settle(withdrawals, ledger, Declined("insufficient_details"))
    await settle(withdrawals, ledger, Unresolved("key_expired", "a test"))
    paid_out = await settle(withdrawals, ledger, Paid("po-1"))
    known = WithdrawalRow(paid_out, "ann", "USD", 2, "completed", 1, "po-1")
    await withdrawals.learn(known, Returned("po-1", 2))
    await adopt_payout(connection, BankPayout(uuid4().hex, "eve", "po-9", 9, "USD"), "operator:ann", "a test")


@pytest.fixture
def in_order(connection: asyncpg.Connection) -> Callable[[list[Event]], Awaitable[None]]:
    """`await in_order(events)`: no gap, and the order of each wallet's rows and of each withdrawal's history."""
    return partial(require_order, connection)


@pytest.mark.parametrize("locking", [False, True], ids=["optimistic", "locking"])
async def test_every_type(
    ledger: Ledger,
    withdrawals: Withdrawals,
    connection: asyncpg.Connection,
    reader: Reader,
    couriers: Open,
    in_order: Callable[[list[Event]], Awaitable[None]],
    books_hold: Callable[[], Awaitable[dict[str, int]]],
    locking: bool,
) -> None:
    """Goal: each change of each object makes one event, of the right type, by whichever writer; the audit agrees."""
    ledger._locking_batches = 1_000 if locking else 0
    courier = couriers()
    await number(courier)
    await one_of_each(ledger, withdrawals, connection)
    await books_hold()  # while all wait for their numbers, too
    await number(courier)
    found = await told(reader)
    await in_order(found)
    await books_hold()
    counts = {type: sum(event.type == type for event in found) for type in TYPES}
    assert counts == {
        "charge.completed": 2,
        "charge.released": 1,
        "charge.reversed": 1,
        "transfer.completed": 4,
        "transfer.released": 1,
        "transfer.reversed": 1,
        "hold.opened": 4,
        "hold.captured": 2,
        "hold.voided": 1,
        "hold.expired": 1,
        "adjustment.completed": 1,
        "withdrawal.pending": 5,
        "withdrawal.processing": 4,
        "withdrawal.completed": 2,
        "withdrawal.failed": 1,
        "withdrawal.cancelled": 1,
        "withdrawal.requires_attention": 1,
        "withdrawal.returned": 1,
    }
    by_type = {event.type: event for event in reversed(found)}
    first = by_type["charge.completed"]
    assert first.json() == first.json()
    assert b'"metadata":{"a":1.10}' in first.json()
    assert first.body.by == "shop key"
    paid = by_type["transfer.completed"]
    assert paid.user_ids == ("ann", "bob", "carl")
    back = by_type["transfer.reversed"]
    assert back.user_ids == ("ann", "carl")
    assert (back.body.object.id, back.body.object.reversal.amount) == (paid.body.object.id, 5)
    assert [(leg.to_user_id, leg.amount) for leg in back.body.object.legs] == [("carl", 5)]
    captured = by_type["hold.captured"].body.object
    assert (captured.amount, captured.captured, captured.status) == (40, 15, "captured")
    released = by_type["transfer.released"]
    assert (released.user_ids, released.body.object.from_user_id) == (("dora",), "ann")
    assert by_type["withdrawal.failed"].body.object.failure_code == "insufficient_details"
    assert by_type["withdrawal.completed"].body.object.bank_reference == "po-1"


async def test_bodies_never_change(
    ledger: Ledger, withdrawals: Withdrawals, reader: Reader, couriers: Open
) -> None:
    """Goal: what an event has told stays the same bytes when the withdrawal has gone on."""
    await ledger.submit(charge(10))
    id = await settle(withdrawals, ledger, Paid("po-1"))
    courier = couriers()
    await number(courier)
    before = [event.json() for event in await told(reader)]
    known = WithdrawalRow(id, "ann", "USD", 2, "completed", 1, "po-1")
    await withdrawals.learn(known, Returned("po-1", 2))
    await number(courier)
    assert [event.json() for event in await told(reader)][: len(before)] == before


async def test_a_late_commit(
    ledger: Ledger, connection: asyncpg.Connection, reader: Reader, couriers: Open, settings: Settings
) -> None:
    """Goal: a batch that commits late is numbered when it is there, others are not kept waiting, and none is lost."""
    courier = couriers()
    await ledger.submit(charge(5))
    await number(courier)
    late = await asyncpg.connect(settings.database_url)
    try:
        transaction = late.transaction()
        await transaction.start()
        await late.execute(
            "insert into transfers (id, user_id, currency, kind, debit_account, credit_account, amount, total_after, "
            "reference, created_at, available_after, locked_after, held_after) select gen_random_uuid(), 'late', "
            "'USD', kind, debit_account, credit_account, amount, total_after, reference, created_at, available_after, "
            "locked_after, held_after from transfers limit 1"
        )
        for _ in range(4):
            courier._looked_at = 0.0  # it looks each time at what can still come
            await ledger.submit(charge(1, user="bob"))
            await number(courier)
        assert [event.user_ids[0] for event in await told(reader)] == ["ann", *["bob"] * 4]
        await transaction.commit()
        courier._looked_at = 0.0
        await number(courier)
        assert [event.user_ids[0] for event in await told(reader)] == ["ann", *["bob"] * 4, "late"]
        from_id = courier._from_id
        for _ in range(3):
            courier._looked_at = 0.0
            await ledger.submit(charge(1, user="bob"))
            await number(courier)
        assert courier._from_id > from_id  # nothing is open any more: what is numbered is passed over
    finally:
        await late.close()


async def test_two_couriers_and_two_writers(
    settings: Settings,
    open_ledger: Callable[[Settings], Ledger],
    connection: asyncpg.Connection,
    reader: Reader,
    in_order: Callable[[list[Event]], Awaitable[None]],
    books_hold: Callable[[], Awaitable[dict[str, int]]],
) -> None:
    """Goal: couriers that number at the same time, against their lease, make no gap, no double and no other order."""
    ledgers = [open_ledger(settings) for _ in range(2)]
    writing = True

    async def numbering() -> None:
        own = await asyncpg.connect(settings.database_url)
        try:
            while writing or (await events.waiting(own))[0]:
                await events.number_batches(own, None)
        finally:
            await own.close()

    couriers = [asyncio.create_task(numbering()) for _ in range(3)]
    users = [f"user-{n}" for n in range(5)]
    for _ in range(10):
        await asyncio.gather(
            *(ledgers[n % 2].submit(charge(10, user=user)) for n, user in enumerate(users * 4)),
        )
        await asyncio.gather(
            *(
                ledgers[n % 2].submit(transfer(user, (users[(n + 1) % 5], 1)))
                for n, user in enumerate(users * 2)
            ),
            return_exceptions=True,
        )
    writing = False
    await asyncio.gather(*couriers)
    found = await told(reader)
    made = await connection.fetchval("select count(*) from transfers where kind in ('charge', 'send')")
    assert len(found) == made
    await in_order(found)
    await books_hold()


async def test_a_courier_that_dies(
    ledger: Ledger, reader: Reader, couriers: Open, settings: Settings
) -> None:
    """Goal: a connection that breaks before the commit leaves all as it was; the next courier numbers it once."""
    for user in ("ann", "bob"):
        await ledger.submit(charge(5, user=user))
    dying = await asyncpg.connect(settings.database_url)
    transaction = dying.transaction()
    await transaction.start()
    sequence = await dying.fetchrow(events._SQL["sequence"])
    await dying.fetch(events._SQL["number"], 0, 10, sequence["last_seq"], None)
    dying.terminate()
    await number(couriers())
    assert [event.user_ids[0] for event in await told(reader)] == ["ann", "bob"]


@pytest.mark.parametrize("done", [True, False], ids=["done", "undone"])
async def test_a_commit_whose_answer_was_lost(
    ledger: Ledger,
    reader: Reader,
    link: Link,
    linked_settings: Callable[..., Settings],
    books_hold: Callable[[], Awaitable[dict[str, int]]],
    done: bool,
) -> None:
    """Goal: a courier that does not know whether it has numbered goes on by a new connection, where the sequence is."""
    for user in ("ann", "bob"):
        await ledger.submit(charge(5, user=user))
    courier = CourierSession(linked_settings().database, frozenset(KINDS))
    try:
        assert await courier.lead()
        if done:
            link.commits_done_to_lose = 1
        else:
            link.commits_undone_to_lose = 1
        with pytest.raises(CONNECTION_ERRORS):
            await courier.number()
        epoch = (await events.span(reader)).epoch
        await ledger.submit(charge(5, user="carl"))
        await number(courier)
    finally:
        await courier.close()
    found = await told(reader)
    assert [(event.seq, event.user_ids[0]) for event in found] == [(1, "ann"), (2, "bob"), (3, "carl")]
    assert {event.body.epoch for event in found} == {epoch}
    await books_hold()


async def test_only_some_kinds(
    ledger: Ledger,
    withdrawals: Withdrawals,
    connection: asyncpg.Connection,
    reader: Reader,
    couriers: Open,
    in_order: Callable[[list[Event]], Awaitable[None]],
    books_hold: Callable[[], Awaitable[dict[str, int]]],
) -> None:
    """Goal: WBS_EVENTS leaves kinds out, never those of withdrawals, and without gaps."""
    courier = couriers(frozenset({"hold"}))
    await number(courier)
    await one_of_each(ledger, withdrawals, connection)
    await number(courier)
    found = await told(reader)
    await in_order(found)
    assert {event.type.partition(".")[0] for event in found} == {"hold", "withdrawal"}
    await books_hold()


async def test_filters(
    ledger: Ledger, withdrawals: Withdrawals, connection: asyncpg.Connection, reader: Reader, couriers: Open
) -> None:
    """Goal: by type, by user (each side of a transfer) and by prefix, exactly the events that match, in order."""
    await one_of_each(ledger, withdrawals, connection)
    await number(couriers())
    everything = await told(reader)
    for type in TYPES:
        assert await told(reader, types=[type]) == [event for event in everything if event.type == type]
    for user in ("ann", "bob", "carl", "dora", "eve", "nobody"):
        assert await told(reader, user_id=user) == [event for event in everything if user in event.user_ids]
    assert await told(reader, user_prefix="do") == [e for e in everything if e.user_ids == ("dora",)]
    assert await told(reader, user_prefix="a") == [
        e for e in everything if all(user.startswith("a") for user in e.user_ids)
    ]


async def test_swallowed_events(ledger: Ledger, connection: asyncpg.Connection) -> None:
    """Goal: where a trigger swallows the note of a batch, its money does not move either."""
    await ledger.submit(charge(5))
    await connection.execute(
        "create function swallow() returns trigger language plpgsql as 'begin return null; end';"
        "create trigger swallow before insert on event_batches for each row execute function swallow()"
    )
    with pytest.raises(Unavailable):
        await ledger.submit(charge(7))
    await connection.execute("drop trigger swallow on event_batches")
    assert await connection.fetchval("select sum(amount) from transfers") == 5


async def test_epochs(ledger: Ledger, connection: asyncpg.Connection, reader: Reader) -> None:
    """Goal: a database that may have lost history begins another epoch, and old positions are refused."""
    here = Server(77, 1)
    assert await events.guard_epoch(connection, here, 0) is None
    await ledger.submit(charge(5))
    first = await events.number_batches(connection, None)
    old = await events.span(reader)
    assert (old.first_seq, old.oldest_seq, old.last_seq) == (1, 1, 1)
    assert await events.guard_epoch(connection, here, first.last_seq) is None
    for there, known in ((Server(78, 1), 1), (Server(78, 2), 1), (Server(78, 2), 10**18)):
        before = await events.span(reader)
        assert await events.guard_epoch(connection, there, known)
        span = await events.span(reader)
        assert span.epoch != before.epoch
        assert span.first_seq > before.last_seq + 10_000
        assert await events.guard_epoch(connection, there, span.last_seq) is None
        for position in (1, before.last_seq, span.last_seq + 1):
            with pytest.raises(EventsGone):
                events.check_position(span, position)
        assert events.check_position(span, None) == span.last_seq
        with pytest.raises(EventsGone):
            events.check_position(span, None, str(before.epoch))
        await ledger.submit(charge(1))
        await events.number_batches(connection, None)
        span = await events.span(reader)
        page = await events.page(reader, events.check_position(span, 0), 10)
        assert [(event.seq, event.body.epoch) for event in page.events] == [(span.first_seq, span.epoch)]


async def test_nothing_to_number(ledger: Ledger, connection: asyncpg.Connection) -> None:
    """Goal: a courier that finds nothing to number locks and writes nothing, and knows how far the sequence is."""
    await ledger.submit(charge(5))
    last = await events.number_batches(connection, None)
    row = "select ctid::text, xmin::text, xmax::text from event_sequence"
    before = await connection.fetchrow(row)
    for _ in range(3):
        idle = await events.number_batches(connection, None)
        assert (idle.batches, idle.last_seq, idle.epoch) == (0, last.last_seq, last.epoch)
    assert await connection.fetchrow(row) == before


async def test_a_promoted_standby(ledger: Ledger, connection: asyncpg.Connection, reader: Reader) -> None:
    """Goal: on another timeline the epoch goes on if the courier finds the last number it has given, and only then."""
    assert await events.guard_epoch(connection, Server(77, 1), 0) is None
    await ledger.submit(charge(5))
    known = await events.number_batches(connection, None)
    assert await events.guard_epoch(connection, Server(77, 2), known.last_seq, known.epoch) is None
    assert (await events.span(reader)).epoch == known.epoch
    # It is written down: a courier that has just started finds it.
    assert await events.guard_epoch(connection, Server(77, 2), 0) is None
    assert await events.guard_epoch(connection, Server(77, 3), 0)
    await ledger.submit(charge(5))
    known = await events.number_batches(connection, None)
    assert await events.guard_epoch(connection, Server(77, 4), known.last_seq + 1, known.epoch)
    assert await events.guard_epoch(
        connection, Server(77, 5), known.last_seq, known.epoch
    )  # of an earlier epoch


async def test_old_events_are_removed(
    ledger: Ledger,
    connection: asyncpg.Connection,
    reader: Reader,
    books_hold: Callable[[], Awaitable[dict[str, int]]],
) -> None:
    """Goal: what is older than wanted goes, the oldest first; a position before it is refused, with figures."""
    for _ in range(3):
        await ledger.submit(charge(5))
    await events.make_kinds(connection, KINDS)
    await events.number_batches(connection, None)
    assert await events.forget(connection, timedelta(days=1), 2**62) == 0
    assert await events.forget(connection, timedelta(0), 1) == 1
    span = await events.span(reader)
    assert (span.oldest_seq, span.last_seq) == (2, 3)
    for position in (0, 4):
        with pytest.raises(EventsGone) as gone:
            events.check_position(span, position)
        assert (gone.value.oldest_seq, gone.value.last_seq) == (2, 3)
    assert events.check_position(span, 1) == 1
    await books_hold()
    await events.forget(connection, timedelta(0), 2**62)
    span = await events.span(reader)
    assert (span.oldest_seq, span.last_seq) == (4, 3)
    assert events.check_position(span, 3) == 3
    await books_hold()


@pytest.mark.parametrize("locking", [False, True], ids=["optimistic", "locking"])
async def test_traces(
    ledger: Ledger, withdrawals: Withdrawals, reader: Reader, couriers: Open, locking: bool
) -> None:
    """Goal: the request that a withdrawal was made by is known to its attempts and events, also of several at once."""
    await ledger.submit(charge(100))
    ledger._locking_batches = 1_000 if locking else 0
    traces = [Trace(f"r-{n}", f"00-4bf92f3577b34da6a3ce929d0e0e473{n}-00f067aa0ba902b7-01") for n in range(3)]
    commands = [withdraw(1, trace=trace) for trace in traces]
    ids = [one.receipt.id for one in await asyncio.gather(*map(ledger.submit, (*commands, withdraw(1))))]
    again = await ledger.submit(replace(commands[0], trace=Trace("another", traces[1].traceparent)))
    assert (again.replayed, again.receipt.id) == (True, ids[0])
    attempts = [await withdrawals.begin_attempt(id, "ann") for id in ids]
    assert [attempt and attempt.trace for attempt in attempts] == [*traces, None]
    await number(couriers())
    told_of = {
        event.body.object.withdrawal_id: (event.body.object.request_id, event.body.object.traceparent)
        for event in await told(reader, types=["withdrawal.processing"])
    }
    assert told_of == dict(zip(ids, [*traces, (None, None)], strict=True))

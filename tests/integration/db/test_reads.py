"""Reads: balances, pages of transactions, withdrawals, what the operator sees."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from db import heartbeats, reads
from db.connections import Reader
from db.ledger import Ledger
from db.lists import LAST_ID, Span
from db.reconciliation import ReconcilerSession
from db.withdrawals import Withdrawals
from runtime.settings import Settings
from runtime.slices import DatabaseSettings
from tests.integration.db.conftest import accepted, charge, split, withdraw
from tests.locks import in_a_month
from wallet.errors import WithdrawalNotFound
from wallet.outcomes import Declined, OutcomeUnknown, Paid

Listing = list[tuple[str, int]]


async def test_balances_of_many(ledger: Ledger, reader: Reader) -> None:
    """Goal: one query tells many wallets apart; an unknown one has zeros; doubled questions are answered."""
    await ledger.submit(charge(5))
    await ledger.submit(charge(7, user="bob"))
    ids = [("bob", "USD"), ("nobody", "USD"), ("ann", "USD"), ("ann", "EUR"), ("bob", "USD")]
    found = await reads.balances(reader, ids)
    assert {id: found[id].total for id in ids} == {
        ("bob", "USD"): 7,
        ("nobody", "USD"): 0,
        ("ann", "USD"): 5,
        ("ann", "EUR"): 0,
    }


async def test_balances_in_many_currencies(ledger: Ledger, reader: Reader) -> None:
    """Goal: balances are right even in more currencies than one query takes, whichever users have which."""
    currencies = [f"X{letter}{letter}" for letter in "ABCDEFGHIJ"]
    assert len(currencies) > 2 * reads.CURRENCIES_MAX
    for number, currency in enumerate(currencies):
        command = charge(1 + number, user=("ann", "bob")[number % 2])
        await ledger.submit(msgspec.structs.replace(command, currency=currency))
    ids = [(user, currency) for currency in currencies for user in ("ann", "bob")]
    found = await reads.balances(reader, ids)
    assert [found[id].total for id in ids] == [
        1 + number if user == ("ann", "bob")[number % 2] else 0
        for number in range(len(currencies))
        for user in ("ann", "bob")
    ]


async def test_a_balance_is_read_in_one_piece(
    ledger: Ledger, withdrawals: Withdrawals, reader: Reader
) -> None:
    """Goal: while money moves between the parts of a wallet the total that is read never changes."""
    total = 1000
    await ledger.submit(charge(total))
    done = False

    async def move() -> None:
        nonlocal done
        for _ in range(40):
            ids = await asyncio.gather(*(accepted(ledger, withdraw(3)) for _ in range(5)))
            await asyncio.gather(*(withdrawals.cancel(id) for id in ids))
        done = True

    async def read() -> None:
        while not done:
            assert sum(await split(reader)) == total

    await asyncio.gather(move(), read(), read())


async def _list(reader: Reader, **page: object) -> Listing:
    found = await reads.transactions(reader, ("ann", "USD"), **page)  # type: ignore[arg-type]
    return [(item.kind, item.amount) for item in found.items]


async def test_transactions_newest_first(ledger: Ledger, withdrawals: Withdrawals, reader: Reader) -> None:
    """Goal: charges and withdrawals, newest first, each once; releases, payouts and refunds are steps of these."""
    later = in_a_month()
    await ledger.submit(charge(10, metadata='{"order": 1}'))
    await ledger.submit(charge(20, release_at=later))
    paid = await accepted(ledger, withdraw(3, destination='"iban"', metadata='"m"'))
    declined = await accepted(ledger, withdraw(4))
    for id, outcome in ((paid, Paid("p1")), (declined, Declined("no"))):
        attempt = await withdrawals.begin_attempt(id, "ann")
        assert attempt is not None
        await withdrawals.settle(attempt, outcome)
    page = await reads.transactions(reader, ("ann", "USD"), limit=10)
    assert [(item.kind, item.amount, item.status) for item in page.items] == [
        ("withdrawal", 4, "failed"),
        ("withdrawal", 3, "completed"),
        ("charge", 20, "completed"),
        ("charge", 10, "completed"),
    ]
    assert (page.total, page.next) == (4, None)
    assert (page.items[1].destination, page.items[1].metadata) == ('"iban"', '"m"')
    assert page.items[2].release_at == later
    assert page.items[3].metadata == '{"order": 1}'


async def test_pages_hold_each_transaction_once(ledger: Ledger, reader: Reader) -> None:
    """Goal: following the cursor from the newest gives all transactions once, though new ones come meanwhile."""
    for amount in range(1, 24):
        await ledger.submit(charge(amount))
    seen: list[int] = []
    end: UUID | None = LAST_ID
    while end is not None:
        page = await reads.transactions(reader, ("ann", "USD"), limit=5, span=Span(end=end))
        seen += [item.amount for item in page.items]
        await ledger.submit(charge(1000))
        end = page.next
    assert seen == list(range(23, 0, -1))


async def test_pages_by_number(ledger: Ledger, reader: Reader) -> None:
    """Goal: page and limit give the same list in pieces; beyond the end there is nothing, and no more."""
    for amount in range(1, 8):
        await ledger.submit(charge(amount))
    pages = [await reads.transactions(reader, ("ann", "USD"), limit=3, skip=skip) for skip in (0, 3, 6, 9)]
    assert [[item.amount for item in page.items] for page in pages] == [[7, 6, 5], [4, 3, 2], [1], []]
    assert [page.next is not None for page in pages] == [True, True, False, False]
    assert {page.total for page in pages} == {7}


async def test_nobody_has_no_transactions(reader: Reader) -> None:
    """Goal: an unknown user has an empty list, not an error."""
    page = await reads.transactions(reader, ("nobody", "USD"), limit=10)
    assert (page.items, page.total, page.next) == ([], 0, None)


async def test_a_withdrawal_and_its_history(ledger: Ledger, withdrawals: Withdrawals, reader: Reader) -> None:
    """Goal: a withdrawal is read with all its states, times and reasons, by its id and by its key alike."""
    await ledger.submit(charge(10))
    id = await accepted(ledger, withdraw(10, key="k", destination='{"iban":  1}'))
    attempt = await withdrawals.begin_attempt(id, "ann")
    assert attempt is not None
    await withdrawals.settle(attempt, OutcomeUnknown("timeout"))
    view = await reads.withdrawal(reader, id)
    assert (view.status, view.attempts, view.failure_code) == ("processing", 1, "outcome_unknown")
    assert view.destination == '{"iban":  1}'
    assert [entry.status for entry in view.history] == ["pending", "processing"]
    assert view.history[0].at == view.created_at <= view.history[1].at <= view.updated_at
    assert all(entry.reason for entry in view.history)
    assert await reads.withdrawal_by_key(reader, "shop", "k") == view


async def test_withdrawals_that_are_not_there(ledger: Ledger, reader: Reader) -> None:
    """Goal: unknown ids, unknown keys, another client's key and a charge's key are all not found."""
    await ledger.submit(charge(10, key="charge"))
    await accepted(ledger, withdraw(5, key="out"))
    with pytest.raises(WithdrawalNotFound):
        await reads.withdrawal(reader, uuid4())
    for client, key in (("shop", "other"), ("app", "out"), ("shop", "charge")):
        with pytest.raises(WithdrawalNotFound):
            await reads.withdrawal_by_key(reader, client, key)


async def test_what_has_ended(ledger: Ledger, withdrawals: Withdrawals, reader: Reader) -> None:
    """Goal: `ended` returns the withdrawals that have an end; the queue consists of the others."""
    await ledger.submit(charge(10))
    pending, cancelled = [await accepted(ledger, withdraw(1)) for _ in range(2)]
    await withdrawals.cancel(cancelled)
    assert await reads.ended(reader, [pending, cancelled, uuid4()]) == {cancelled}
    assert await reads.queue_length(reader) == 1


async def test_heartbeats(reader: Reader, connection: asyncpg.Connection) -> None:
    """Goal: each process's last word is kept, with its age by the database's clock; old ones are forgotten."""
    await heartbeats.beat(reader, "relay", "1", {"rabbitmq": "away"})
    await heartbeats.beat(reader, "relay", "1", {"rabbitmq": "ok"})
    await heartbeats.beat(reader, "actors", "2", {})
    found = {(one.kind, one.instance): one for one in await heartbeats.heartbeats(reader)}
    assert found.keys() == {("relay", "1"), ("actors", "2")}
    assert found["relay", "1"].detail == {"rabbitmq": "ok"}
    assert 0 <= found["relay", "1"].age_s < 30
    await connection.execute("update heartbeats set at = at - interval '11 minutes' where kind = 'actors'")
    assert [one.kind for one in await heartbeats.heartbeats(reader)] == ["relay"]
    await heartbeats.forget_old(reader)
    assert await connection.fetchval("select count(*) from heartbeats") == 1
    assert json.loads(await connection.fetchval("select detail from heartbeats")) == {"rabbitmq": "ok"}


async def test_what_the_reconciler_reads(
    make_settings: Callable[..., Settings],
    ledger: Ledger,
    open_withdrawals: Callable[[Settings], Withdrawals],
    reader: Reader,
    books_hold: Callable[[], Awaitable[dict[str, int]]],
) -> None:
    """Goal: counts by state, depth and age of the outbox, pages of stuck withdrawals, the cursor in the bank's list."""
    settings = make_settings(WBS_RETRY_ROUNDS="1")
    withdrawals = open_withdrawals(settings)
    session = ReconcilerSession(settings)
    assert await session.lead()
    assert await session.outbox_depth() == (0, 0)
    assert await session.bank_cursor() is None
    await ledger.submit(charge(100))
    stuck = sorted([await accepted(ledger, withdraw(1)) for _ in range(5)])
    waiting = await accepted(ledger, withdraw(2))
    for id in stuck:
        attempt = await withdrawals.begin_attempt(id, "ann")
        assert attempt is not None
        await withdrawals.settle(attempt, OutcomeUnknown("timeout"))
    assert await session.count_open() == {"pending": 1, "requires_attention": 5}
    depth, age_s = await session.outbox_depth()
    assert depth == 6
    assert 0 <= age_s < 60
    first = await session.requiring_attention(None, 3)
    rest = await session.requiring_attention(first[-1].id, 3)
    assert [known.id for known in (*first, *rest)] == stuck
    reference = (await reads.withdrawal(reader, waiting)).reference
    assert reference is not None
    [(text, known)] = (await session.by_references([reference, uuid4()])).items()
    assert text == reference.hex
    assert known[:7] == (waiting, "ann", "USD", 2, "pending", 0, None)
    for cursor in ("abc", None):
        await session.advance_bank_cursor(cursor)
        assert await session.bank_cursor() == cursor
    pages = [one.id for one in await reads.requiring_attention(reader, limit=2)]
    pages += [one.id for one in await reads.requiring_attention(reader, after=pages[-1])]
    assert pages == stuck
    await session.close()
    await books_hold()


async def test_a_history_that_an_earlier_version_began(
    ledger: Ledger,
    reader: Reader,
    connection: asyncpg.Connection,
    books_hold: Callable[[], Awaitable[dict[str, int]]],
) -> None:
    """Goal: the first state is implied; a row that says it all the same does not make it two."""
    await ledger.submit(charge(10))
    id = await accepted(ledger, withdraw(3))
    found = await reads.withdrawal(reader, id)
    assert found.history == [reads.HistoryEntry("pending", found.created_at, "funds reserved", "client")]
    await connection.execute(
        "insert into withdrawal_history select user_id, id, 1, 'pending', created_at, 'funds reserved' from withdrawals"
    )
    assert await reads.withdrawal(reader, id) == found
    await books_hold()


async def test_who_made_a_withdrawal(ledger: Ledger, reader: Reader, connection: asyncpg.Connection) -> None:
    """Goal: the history begins with the client, or the operator who adopted it; older rows name nobody."""

    async def first() -> tuple[str, str | None]:
        entry = (await reads.withdrawal(reader, id_)).history[0]
        return entry.reason, entry.by

    await ledger.submit(charge(10))
    id_ = await accepted(ledger, withdraw(3, by="shop"))
    assert await first() == ("funds reserved", "client:shop")
    await connection.execute(
        "insert into withdrawal_history select user_id, id, 1, 'pending', created_at, 'adopted', 'operator:eve'"
        " from withdrawals"
    )
    assert await first() == ("adopted", "operator:eve")
    await connection.execute("delete from withdrawal_history")
    await connection.execute("update withdrawals set reference = null, made_by = null")
    assert await first() == ("funds reserved", None)


class WatchedReader(Reader):
    """Notes whose turn it was: the number of the task's request."""

    def __init__(self, settings: DatabaseSettings, size: int) -> None:
        super().__init__(settings, size)
        self.asked: dict[asyncio.Task[Any] | None, int] = {}
        self.served: list[int] = []

    async def _fetch(self, connection: Any, query: str, arguments: tuple[Any, ...]) -> list[Any]:
        self.served.append(self.asked.get(asyncio.current_task(), 0))
        return await super()._fetch(connection, query, arguments)


async def test_whoever_came_first_is_read_for_first(settings: Settings) -> None:
    """Goal: while all connections are in use, no caller overtakes another."""
    reader = WatchedReader(settings.database, size=2)
    await asyncio.gather(*(reader.fetch("select 1") for _ in range(2)))  # both are connected now
    assert reader.connections == (0, 2)
    numbers = itertools.count(1)

    async def ask() -> None:
        for _ in range(50):
            reader.asked[asyncio.current_task()] = next(numbers)
            await reader.fetch("select 1")

    await asyncio.gather(*(ask() for _ in range(16)))
    assert reader.connections == (0, 2)
    reader.terminate()
    assert reader.served == sorted(reader.served)

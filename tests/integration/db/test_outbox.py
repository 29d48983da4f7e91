"""The outbox: messages committed with the money, claimed by one relay at a time, gone only once confirmed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from db.errors import CONNECTION_ERRORS
from db.ledger import Ledger
from db.outbox import Outbox
from runtime.settings import Settings
from tests.integration.db.conftest import accepted, charge, submit_twice, withdraw
from tests.integration.link import Link
from tests.polling import poll_until
from wallet.errors import InsufficientFunds


@pytest_asyncio.fixture
async def open_outbox(settings: Settings) -> AsyncIterator[Callable[[], Outbox]]:
    """`open_outbox()`: a relay's view of the outbox; not connected yet."""
    opened: list[Outbox] = []

    def open_() -> Outbox:
        opened.append(Outbox(settings.database))
        return opened[-1]

    yield open_
    for outbox in opened:
        await outbox.close()


@pytest_asyncio.fixture
async def waiting(ledger: Ledger) -> set[UUID]:
    """Ten withdrawals that were accepted just now."""
    await ledger.submit(charge(100))
    return set(await asyncio.gather(*(accepted(ledger, withdraw(1)) for _ in range(10))))


async def _left(connection: asyncpg.Connection) -> int:
    count: int = await connection.fetchval("select count(*) from outbox")
    return count


async def test_a_message_goes_with_the_money(
    ledger: Ledger, waiting: set[UUID], connection: asyncpg.Connection
) -> None:
    """Goal: each accepted withdrawal has one message, a refused one has none, by either way of writing a batch."""
    with pytest.raises(InsufficientFunds):
        await ledger.submit(withdraw(1000))
    await submit_twice(ledger, charge(1))  # from here on the ledger locks first
    locking = await asyncio.gather(*(accepted(ledger, withdraw(1)) for _ in range(10)))
    rows = await connection.fetch("select withdrawal_id, user_id from outbox")
    assert {row["withdrawal_id"] for row in rows} == waiting.union(locking)
    assert len(rows) == 20
    assert {row["user_id"] for row in rows} == {"ann"}


async def test_two_relays_claim_different_messages(
    open_outbox: Callable[[], Outbox], waiting: set[UUID], connection: asyncpg.Connection
) -> None:
    """Goal: what one relay has claimed another one passes over, without waiting for it."""
    one, other = open_outbox(), open_outbox()
    for outbox in (one, other):
        await outbox.open(lambda: None)
    async with asyncio.timeout(30), one.claim(6) as first, other.claim(100) as second:
        claimed = [{message.withdrawal_id for message in messages} for messages in (first, second)]
        assert [len(ids) for ids in claimed] == [6, 4]
        assert claimed[0] | claimed[1] == waiting
        await one.published(first)
        await other.published(second[:1])
    assert await _left(connection) == 3


async def test_the_oldest_come_first(
    open_outbox: Callable[[], Outbox], waiting: set[UUID], ledger: Ledger
) -> None:
    """Goal: no message is overtaken for ever: claims take the oldest."""
    newer = await accepted(ledger, withdraw(1))
    outbox = open_outbox()
    await outbox.open(lambda: None)
    async with outbox.claim(10) as messages:
        assert {message.withdrawal_id for message in messages} == waiting
        assert newer not in waiting


async def test_unconfirmed_messages_are_there_for_the_next(
    open_outbox: Callable[[], Outbox], waiting: set[UUID], connection: asyncpg.Connection
) -> None:
    """Goal: a relay that fails, or is cut off, before the confirm leaves its messages to others, all of them."""
    failing, next_one = open_outbox(), open_outbox()

    async def fail(how: Callable[[], Awaitable[object]]) -> None:
        await failing.open(lambda: None)
        async with failing.claim(100) as messages:
            await failing.published(messages)
            await how()

    async def broker_away() -> None:
        raise RuntimeError("broker away")

    with pytest.raises(RuntimeError, match="broker away"):
        await fail(broker_away)
    claimed = asyncio.Event()

    async def hang() -> None:
        claimed.set()
        await asyncio.Event().wait()

    hanging = asyncio.ensure_future(fail(hang))
    await claimed.wait()
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    await next_one.open(lambda: None)
    async with next_one.claim(100) as messages:
        assert {message.withdrawal_id for message in messages} == waiting
    assert await _left(connection) == 10


async def test_a_relay_that_was_killed(
    open_outbox: Callable[[], Outbox], waiting: set[UUID], connection: asyncpg.Connection
) -> None:
    """Goal: a relay whose connection breaks while it holds a claim frees it, and it opens a new one itself."""
    outbox = open_outbox()
    await outbox.open(lambda: None)

    async def killed_in_the_middle() -> None:
        async with outbox.claim(100) as messages:
            await connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and state = 'idle in transaction'"
            )
            await outbox.published(messages)

    with pytest.raises(CONNECTION_ERRORS):
        await killed_in_the_middle()
    await outbox.open(lambda: None)
    async with outbox.claim(100) as messages:
        assert {message.withdrawal_id for message in messages} == waiting


async def test_a_notification_wakes_each_relay(open_outbox: Callable[[], Outbox], ledger: Ledger) -> None:
    """Goal: every listening relay is notified of an accepted withdrawal at once, not only when it polls."""
    notified: list[int] = []
    for number in range(2):
        outbox = open_outbox()
        await outbox.open(lambda number=number: notified.append(number))  # type: ignore[misc]
    await ledger.submit(charge(1))
    assert not notified, "a charge is nothing for the relay"
    await accepted(ledger, withdraw(1))
    await poll_until(lambda: {0, 1} <= set(notified))


async def test_many_withdrawals_notify_once_or_so(open_outbox: Callable[[], Outbox], ledger: Ledger) -> None:
    """Goal: a burst of withdrawals makes few notifications: NOTIFY is no cost of each request."""
    notified: list[int] = []
    outbox = open_outbox()
    await outbox.open(lambda: notified.append(1))
    await ledger.submit(charge(1000))
    await asyncio.gather(*(accepted(ledger, withdraw(1)) for _ in range(500)))
    await poll_until(lambda: notified)
    assert len(notified) < 20


async def test_the_relay_listens_again_after_a_break(
    link: Link, linked_settings: Callable[..., Settings], ledger: Ledger
) -> None:
    """Goal: a relay that lost its connection is notified again after it has opened a new one."""
    notified: list[int] = []
    outbox = Outbox(linked_settings().database)
    await outbox.open(lambda: notified.append(1))
    link.cut()
    await poll_until(lambda: _reopened(outbox, notified))
    await ledger.submit(charge(1))
    await accepted(ledger, withdraw(1))
    await poll_until(lambda: notified)
    await outbox.close()


async def _reopened(outbox: Outbox, notified: list[int]) -> bool:
    await outbox.open(lambda: notified.append(1))
    try:
        async with outbox.claim(1):
            return True
    except CONNECTION_ERRORS:
        return False

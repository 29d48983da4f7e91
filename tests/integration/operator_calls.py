"""What operators ask and do, and adjustments, each a call by itself. See calls.py.

That nothing is found is a proper answer to a question; where it is a lie, the call takes it for a failure.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from db import adjustments, operator_reads, operator_search, operator_writes
from db.connections import Reader, understood
from db.lists import LAST_ID
from db.operator_search import Filters
from db.reconciliation import ReconcilerSession
from db.withdrawals import Withdrawals
from runtime.settings import Settings
from runtime.tasks import SupervisedTasks
from tests.integration.db.conftest import charge
from tests.integration.loop import Direct, new_user
from tests.locks import in_an_hour
from wallet.adjustments import Adjust
from wallet.errors import Unavailable
from wallet.ids import uuid7_sequence
from wallet.outcomes import Declined, Unresolved

_EVERYTHING = 100_000


@asynccontextmanager
async def _reader(settings: Settings) -> AsyncIterator[Reader]:
    reader = Reader(settings.database, 1)
    try:
        yield reader
    finally:
        reader.terminate()


def _believed(is_so: bool, what: str) -> None:
    if not is_so:
        raise Unavailable(what)


async def _requiring_attention(direct: Direct) -> UUID:
    attempt = await direct.attempt()
    await direct.withdrawals.settle(attempt, Unresolved("lost", "it is not known there"), took_ms=3)
    return attempt.withdrawal_id


async def overview(settings: Settings, direct: Direct) -> None:
    """The console shows how everything stands."""
    await _requiring_attention(direct)
    await direct.withdrawal()
    async with _reader(settings) as reader:
        found = await understood(operator_reads.overview, reader)
        _believed({"pending", "requires_attention"} <= {one.status for one in found.open}, "no open sums")
        _believed(any(not one.with_the_bank for one in found.oldest), "no oldest one")
        _believed(found.is_complete and found.outbox.messages > 0, "nothing waits")
        sums = await understood(operator_reads.attention_sums, reader)
        _believed("lost" in {one.failure_code for one in sums}, "none requires attention")


async def withdrawal_in_full(settings: Settings, direct: Direct) -> None:
    """The console shows one withdrawal."""
    id = await _requiring_attention(direct)
    async with _reader(settings) as reader:
        found = await understood(operator_reads.withdrawal_in_full, reader, id)
    assert found.view.id == id
    _believed([one.said for one in found.attempts] == ["it is not known there"], "no attempt")
    operator_reads.timeline_of(found)


async def searches(settings: Settings, direct: Direct) -> None:
    """The console searches withdrawals, by filters and by names."""
    id, user = await direct.withdrawal()
    find = "select key from idempotency_keys where movement_id = $1"
    key = await direct.connection.fetchval(find, id)
    pending = Filters(("pending",))
    every = (Filters(), Filters(user_id=user), pending, pending._replace(oldest_first=True))
    async with _reader(settings) as reader:
        for filters in every:
            page = await understood(operator_search.search, reader, filters, _EVERYTHING)
            _believed(page.next is not None or id in {one.id for one in page.items}, "it is not found")
            assert not filters.statuses or {one.status for one in page.items} <= {"pending"}
        for name, found_by in ((str(id), "id"), (key, "idempotency_key"), ("no such payout", None)):
            named = await understood(operator_search.named, reader, name)
            _believed(named.found_by.get(id) in (found_by, None), "it is not so named")
            assert not named.is_user
        _believed((await understood(operator_search.named, reader, user)).is_user, "no user")


async def books_and_locks(settings: Settings, direct: Direct) -> None:
    """The reconciler writes down a difference to the bank's books; the console shows it, and a wallet's locks."""
    reference, user = uuid4().hex, new_user()
    await direct.ledger.submit(charge(3, user=user, release_at=in_an_hour()))
    session = ReconcilerSession(settings)
    try:
        await direct.connection.execute("delete from leases")
        _believed(await session.lead(), "it does not lead")
        await session.note_discrepancies([("unknown_payout", reference, "3.00 USD", None)])
        await session.give_up()
    finally:
        await session.close()
    noted = "select count(*) from discrepancies where reference = $1"
    assert await direct.connection.fetchval(noted, reference) == 1
    async with _reader(settings) as reader:
        books = await understood(operator_reads.books, reader)
        _believed(reference in {one.reference for one in books.discrepancies}, "no discrepancy")
        locks = await understood(operator_reads.locks, reader, user, "USD")
        _believed([one.amount for one in locks] == [3], "no lock")


async def actions(settings: Settings, direct: Direct) -> None:
    """An operator has the bank asked, and proposes how a withdrawal is to be settled, and drops the proposal."""
    id = await _requiring_attention(direct)
    proposed = "select count(*) from settlement_proposals where withdrawal_id = $1"
    async with _reader(settings) as reader:
        await understood(operator_writes.note_action, reader, "eve", "replay", id, "lost")
        done = "select count(*) from operator_actions where withdrawal_id = $1"
        assert await direct.connection.fetchval(done, id) >= 1
        await direct.connection.execute("delete from look_ups")
        _believed(await understood(operator_writes.redrive, reader, id), "not open")
        assert await direct.connection.fetchval("select count(*) from look_ups where withdrawal_id = $1", id)
        propose = understood(operator_writes.propose, reader, id, "declined", None, "lost", "eve")
        _believed(await propose, "not proposed")
        assert await direct.connection.fetchval(proposed, id) == 1
        _believed(id in await understood(operator_reads.proposals, reader, [id]), "no proposal")
        _believed(await understood(operator_writes.drop_proposal, reader, id), "no proposal to drop")
        assert await direct.connection.fetchval(proposed, id) == 0


async def approval(settings: Settings, direct: Direct) -> None:
    """A second person approves how a withdrawal is to be settled."""
    id = await _requiring_attention(direct)
    withdrawals = Withdrawals(settings, SupervisedTasks(pause_s_min=0.01, pause_s_max=0.1))
    withdrawals.start()
    try:
        async with _reader(settings) as reader:
            propose = understood(operator_writes.propose, reader, id, "declined", None, "lost", "eve")
            _believed(await propose, "not proposed")
            proposed = (await understood(operator_reads.proposals, reader, [id])).get(id)
        if proposed is None:
            raise Unavailable("no proposal")
        await withdrawals.settle_by_hand(id, Declined("lost"), "lost", "operator:bob", proposed.proposed_at)
    finally:
        await withdrawals.stop()
    assert await direct.connection.fetchval("select status from withdrawals where id = $1", id) == "failed"
    left = "select count(*) from settlement_proposals where withdrawal_id = $1"
    assert await direct.connection.fetchval(left, id) == 0


async def adjustments_by_two(settings: Settings, direct: Direct) -> None:
    """One person proposes an adjustment, another one confirms it; a key that has moved money proposes nothing."""
    user, now = new_user(), datetime.now(UTC)
    asked = Adjust("shop", uuid4().hex, user, "USD", 5, "goodwill", "eve")
    ids = uuid7_sequence(now)
    id = next(ids)
    async with _reader(settings) as reader:
        proposal = await understood(adjustments.propose, reader, id, asked)
        assert proposal is not None, "one person could book it"
        assert proposal.id == id
        since = now - timedelta(days=1)
        waiting = await understood(adjustments.proposals, reader, LAST_ID, 100, since)
        _believed(id in {one.id for one in waiting}, "it does not wait")
        confirmed = (await understood(adjustments.proposal, reader, id)).confirmed("bob")
        receipt = (await direct.ledger.follow_up(confirmed)).receipt
        booked = await understood(adjustments.booked, reader, receipt.id)
        if booked is None:
            raise Unavailable("not booked")
        assert (booked.amount, booked.by, booked.proposed_by) == (5, "bob", "eve")
        page = await understood(adjustments.all_booked, reader, LAST_ID, 100)
        _believed(receipt.id in {one.id for one in page}, "it is not listed")
        at_once = Adjust("shop", uuid4().hex, user, "USD", -1, "too much", "eve")
        await direct.ledger.follow_up(at_once)
        assert await understood(adjustments.propose, reader, next(ids), at_once) is None


OPERATOR_CALLS: dict[str, Callable[[Settings, Direct], Awaitable[None]]] = {
    "overview": overview,
    "withdrawal in full": withdrawal_in_full,
    "searches": searches,
    "books and locks": books_and_locks,
    "actions": actions,
    "approval": approval,
    "adjustments by two": adjustments_by_two,
}

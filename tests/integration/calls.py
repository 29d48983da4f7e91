"""What is said to the database outside of loops, each a call by itself: looks, pauses, leases, callbacks, adoptions.

A call prepares what it needs by the direct way, does its work through the proxy, and looks, by the direct way again,
that what it takes for done is done.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

from actors.nightly import NightlyAudit
from db import api_keys, audit_runs, rate_reports, reconciliation, stack
from db.adoptions import BankPayout, adopt_payout
from db.api_keys import NewApiKey
from db.connections import Reader, connect, understood
from db.courier import CourierSession
from db.leases import Lease
from db.ledger import Ledger
from db.reconciliation import ReconcilerSession, WithdrawalRow
from db.vitals import VitalsSession
from db.write_trial import try_to_write
from runtime.settings import Settings
from runtime.tasks import SupervisedTasks
from tests.integration.db.conftest import charge, withdraw
from tests.integration.loop import Direct, new_user
from tests.integration.operator_calls import OPERATOR_CALLS
from tests.integration.webhook_calls import WEBHOOK_CALLS
from wallet.errors import Unavailable
from wallet.events import KINDS
from wallet.scopes import Scope

Call = Callable[[Settings, Direct], Awaitable[None]]

ADOPTED = """
with forgotten as (delete from idempotency_keys where key = $1 returning movement_id)
update withdrawals set destination = null, metadata = null where id in (select movement_id from forgotten)
"""
"""Makes of a withdrawal one that was adopted from the bank's books: it has no key."""

RESUMED = "update stack set paused_at = null, paused_by = null, paused_reason = null"


@asynccontextmanager
async def _reader(settings: Settings) -> AsyncIterator[Reader]:
    reader = Reader(settings.database, 1)
    try:
        yield reader
    finally:
        reader.terminate()


@asynccontextmanager
async def _connection(settings: Settings) -> AsyncIterator[Any]:
    connection = await connect(settings.database, command_timeout_s=0.4)
    try:
        yield connection
    finally:
        connection.terminate()


@asynccontextmanager
async def _session(settings: Settings, direct: Direct) -> AsyncIterator[ReconcilerSession]:
    """A session that leads."""
    await direct.connection.execute("delete from leases")
    session = ReconcilerSession(settings)
    try:
        if not await session.lead():
            raise Unavailable("it does not lead")  # what the server said of the lease made it believe so
        yield session
        await session.give_up()
    finally:
        await session.close()


async def _stack(direct: Direct, what: str) -> Any:
    return await direct.connection.fetchval(f"select {what} from stack")


async def pausing(settings: Settings, direct: Direct) -> None:
    """An operator pauses and resumes payouts."""
    await direct.connection.execute(RESUMED)
    async with _reader(settings) as reader:
        await understood(stack.pause, reader, "operator:eve", "test")
        assert await _stack(direct, "paused_by") == "operator:eve"
        assert not (await understood(stack.look, reader)).allowed
        _believed(await understood(stack.resume, reader))
        assert await _stack(direct, "paused_at") is None


async def pausing_by_itself(settings: Settings, direct: Direct) -> None:
    """Payouts pause by themselves, and go on by themselves."""
    await direct.connection.execute(RESUMED)
    async with _reader(settings) as reader:
        here = await understood(stack.server, reader)
        await understood(stack.pause_by_itself, reader, f"{stack.TIMELINE} than before", history_lost=True)
        assert await _stack(direct, "paused_by") == stack.ITSELF
        await understood(stack.write_down, reader, here, whole=True)
        _believed(await understood(stack.resume_by_itself, reader))
        assert await _stack(direct, "paused_at") is None


async def trial(settings: Settings, direct: Direct) -> None:
    """Health tries to write. It fails by telling of it."""
    found = await try_to_write(settings.database)
    if found.reason is not None:
        raise Unavailable(found.reason)


async def callback(settings: Settings, direct: Direct) -> None:
    """The bank calls back."""
    id_, _ = await direct.withdrawal()
    reference = await direct.connection.fetchval(
        "select coalesce(reference, id) from withdrawals where id = $1", id_
    )
    async with _reader(settings) as reader:
        if await understood(reconciliation.told, reader, reference) != 1:
            raise Unavailable("not known")
    assert await _look_ups(direct, id_) == 1


async def look_ups(settings: Settings, direct: Direct) -> None:
    """The reconciler does look-ups because of the bank's books, and of open withdrawals while payouts are paused."""
    id_, _ = await direct.withdrawal()
    await direct.connection.execute("delete from look_ups")
    row = await direct.connection.fetchrow("select * from withdrawals where id = $1", id_)
    reference = row["reference"]
    try:
        async with _session(settings, direct) as session:
            known = _the(await session.by_references([reference]), reference.hex)
            await session.look_up_soon([known])
            due = await session.look_ups_due(10)
            assert await _look_ups(direct, id_) == 1
            await session.look_ups_missed(due)
            await session.looked_up([id_])
            await session.look_ups_done(due)
            await session.requiring_attention(None, 10)
            await direct.connection.execute("update stack set history_lost_at = clock_timestamp()")
            await session.look_up_open(1_000)
            assert await _look_ups(direct, id_) == 1
    finally:
        await direct.connection.execute("update stack set history_lost_at = null")
        await direct.withdrawals.cancel(id_)


async def announcing_one_by_one(settings: Settings, direct: Direct) -> None:
    """The reconciler announces again while another session's outbox row is locked."""
    id_, _ = await direct.withdrawal()
    await direct.connection.execute("delete from outbox")
    await direct.connection.execute("update withdrawals set ring_at = now() where id = $1", id_)
    async with _session(settings, direct) as session:
        announced = await session._redrive_one_by_one(50)
    assert announced <= await direct.connection.fetchval("select count(*) from outbox")


async def lease(settings: Settings, direct: Direct) -> None:
    """One takes a lease, gives it up, and another one takes it over that has waited for long enough."""
    name = uuid4().hex
    now = 0.0
    first, second = (Lease(name, clock=lambda: now) for _ in range(2))
    async with _connection(settings) as connection:
        _believed(await first.hold(connection))
        now += 2
        _believed(await first.hold(connection))
        await second.hold(connection)
        now += 20
        _believed(await second.hold(connection))
        await second.give_up(connection)
    assert await direct.connection.fetchval("select count(*) from leases where name = $1", name) == 0


async def adoption(settings: Settings, direct: Direct) -> None:
    """An operator adopts a payout that only the bank knows."""
    user = new_user()
    await direct.matured(user, 3)
    payout = BankPayout(uuid4().hex, user, "p", 7, "USD")
    async with _connection(settings) as connection:
        adopted = await adopt_payout(connection, payout, "operator:eve", "test")
        assert adopted.new
        assert not (await adopt_payout(connection, payout, "operator:eve", "test")).new
    assert (
        await direct.connection.fetchval("select status from withdrawals where id = $1", adopted.id)
        == "completed"
    )


async def claim(settings: Settings, direct: Direct) -> None:
    """A client asks for a withdrawal that was adopted: it gets its key."""
    user, key = new_user(), uuid4().hex
    await direct.ledger.submit(charge(9, user=user))
    request = withdraw(2, user=user, key=key)
    await direct.ledger.submit(request)
    await direct.connection.execute(ADOPTED, key)
    ledger = Ledger(settings, SupervisedTasks(pause_s_min=0.01, pause_s_max=0.1))
    ledger.start()
    try:
        assert (await ledger.submit(request)).replayed
    finally:
        await ledger.stop()
        assert (await direct.ledger.submit(request)).replayed  # else it would stay without a key
    assert await direct.connection.fetchval("select count(*) from withdrawals where user_id = $1", user) == 1


def _the(found: dict[str, WithdrawalRow], name: str) -> WithdrawalRow:
    if name not in found:
        raise Unavailable("not known")
    return found[name]


def _believed(is_done: bool) -> None:
    if not is_done:
        raise Unavailable("somebody else did it")  # no row is a proper answer here, though it is a lie


async def _look_ups(direct: Direct, id_: object) -> int:
    count: int = await direct.connection.fetchval(
        "select count(*) from look_ups where withdrawal_id = $1", id_
    )
    return count


async def api_key_calls(settings: Settings, direct: Direct) -> None:
    """An operator creates and revokes an API key; a gateway reads the keys and writes down which were used."""
    async with _connection(settings) as connection, _reader(settings) as reader:
        name, hashed = uuid4().hex, api_keys.digest
        before = await understood(api_keys.revision, reader)
        created = await api_keys.create(connection, NewApiKey(name, frozenset({Scope.READ})), "operator:eve")
        after = await understood(api_keys.revision, reader)
        _believed(after.number > before.number and after.any_key)
        live = await understood(api_keys.live_keys, reader)
        _believed(hashed(created.secret) in live)
        await understood(api_keys.write_used, reader, {hashed(created.secret): datetime.now(UTC)})
        _believed(created.prefix in {row["prefix"] for row in await understood(api_keys.list_keys, reader)})
        _believed(await understood(api_keys.revoke, reader, name, "operator:eve") == created.prefix)
        assert await direct.connection.fetchval("select revoked_by from api_keys where name = $1", name)


async def reports_of_rates(settings: Settings, direct: Direct) -> None:
    """A gateway tells the others what its clients have used, learns it of them, and goes."""
    mine, other = uuid4(), uuid4()
    async with _reader(settings) as reader:
        await understood(rate_reports.exchange, reader, mine, "{}")
        found = await understood(rate_reports.exchange, reader, other, "{}")
        _believed(mine in {report.gateway for report in found})
        await understood(rate_reports.withdraw, reader, mine)
    count = await direct.connection.fetchval("select count(*) from rate_reports where gateway = $1", mine)
    _believed(count == 0)


async def old_events(settings: Settings, direct: Direct) -> None:
    """The courier counts what waits for a number, and removes what is old."""
    await direct.connection.execute("delete from leases")
    session = CourierSession(settings.database, frozenset(KINDS))
    try:
        if not await session.lead():
            raise Unavailable("it does not lead")
        _believed((await session.waiting())[0] >= 0)
        _believed(await session.forget(timedelta(days=1)) == 0)
        await session.give_up()
    finally:
        await session.close()


async def vitals(settings: Settings, direct: Direct) -> None:
    """The reconciler measures what nobody's request brings about."""
    await direct.withdrawal()
    session = VitalsSession(settings.database)
    try:
        _believed("pending" in {one.stage for one in await session.open_money()})
        used, allowed = await session.connections()
        _believed(0 < used <= allowed)
        _believed(await session.database_bytes() > 0)
        _believed(await session.wal_bytes() > 0)
        await session.wal_archive_age_s()
        _believed(await session.events_waiting_s() >= 0)
        _believed(set(await session.webhooks()) == {"enabled", "disabled"})
        await session.replicas()
        await session.last_audit()
        await session.last_backup_at()
    finally:
        session.terminate()


_nights = count(1)
_FOUND_NOTHING = ("-c", 'print(\'{"ok": true, "violations_total": 0, "summary": ""}\')')


async def audits(settings: Settings, direct: Direct) -> None:
    """A night comes, and its audit is claimed, done and recorded; an operator records one by hand, and a backup."""
    now = datetime.now(UTC) + timedelta(days=next(_nights))
    night = NightlyAudit(settings.database, now.time(), command=_FOUND_NOTHING, now=lambda: now)
    await night.look()
    found = await direct.connection.fetchval("select violations from audit_runs where due_at = $1", now)
    _believed(found == 0)
    async with _connection(settings) as connection:
        by_hand = datetime.now(UTC)
        await audit_runs.record(connection, by_hand, 0, "", "operator:eve")
        await audit_runs.record_backup(connection, by_hand, "a disk far away", "operator:eve")
    for query in ("select from audit_runs where due_at = $1", "select from backups where taken_at = $1"):
        assert await direct.connection.fetchrow(query, by_hand) is not None


CALLS: dict[str, Call] = {
    "old events": old_events,
    "vitals": vitals,
    "audits": audits,
    "reports of rates": reports_of_rates,
    "API keys": api_key_calls,
    "pausing": pausing,
    "pausing by itself": pausing_by_itself,
    "trial": trial,
    "callback": callback,
    "look-ups": look_ups,
    "announcing one by one": announcing_one_by_one,
    "lease": lease,
    "adoption": adoption,
    "claim": claim,
    **WEBHOOK_CALLS,
    **OPERATOR_CALLS,
}

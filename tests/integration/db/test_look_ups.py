"""Questions to the bank that stand in `look_ups`: when they are due again, if it gave no answer."""

from datetime import timedelta
from uuid import UUID

import asyncpg

from actors.bank.protocol import PayoutOrder
from actors.look_ups import Discrepancies, LookUps
from db.ledger import Ledger
from db.reconciliation import ReconcilerSession
from db.withdrawals import Withdrawals
from runtime.settings import Settings
from tests.in_memory_bank import InMemoryBank
from tests.integration.db.conftest import accepted, charge, withdraw
from wallet.outcomes import FindOutcome, OutcomeUnknown
from wallet.traces import Trace

MISSED = "update look_ups set due_at = now() - interval '1 s'"


async def test_a_bank_that_was_away_for_long_is_asked_again_within_a_minute(
    settings: Settings, ledger: Ledger, connection: asyncpg.Connection
) -> None:
    """Goal: the wait grows from 5 s, but never beyond a minute, so that returned money waits no longer."""
    await ledger.submit(charge(10))
    id = await accepted(ledger, withdraw(1))
    session = ReconcilerSession(settings)
    assert await session.lead()
    await connection.execute(
        "insert into look_ups select id, user_id, now() from withdrawals where id = $1", id
    )
    waits = []
    for _ in range(20):
        await connection.execute(MISSED)
        due = await session.look_ups_due(10)
        assert [one.known.id for one in due] == [id]
        await session.look_ups_missed(due)
        waits.append(await connection.fetchval("select due_at - clock_timestamp() from look_ups"))
    assert waits[0] <= timedelta(seconds=5) < waits[1] <= timedelta(seconds=10)
    assert timedelta(seconds=50) < max(waits) <= timedelta(minutes=1)
    await session.close()


async def test_a_look_up_is_in_the_trace_of_the_withdrawals_request(
    settings: Settings, ledger: Ledger, withdrawals: Withdrawals, connection: asyncpg.Connection
) -> None:
    """Goal: what is asked because the bank called back, or disagrees, is told to the bank as the payout was."""
    trace = Trace("shop-17", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    await ledger.submit(charge(10))
    ids = [await accepted(ledger, withdraw(1, trace=trace)), await accepted(ledger, withdraw(1))]
    orders: list[PayoutOrder] = []

    class Bank(InMemoryBank):
        async def find(self, order: PayoutOrder, *, compare_all: bool = False) -> FindOutcome:
            orders.append(order)
            return OutcomeUnknown("it hangs")

    session = ReconcilerSession(settings)
    assert await session.lead()
    await connection.execute("insert into look_ups select id, user_id, now() from withdrawals")
    await LookUps(Bank(), session, withdrawals, Discrepancies(), frozenset()).work_off()
    known = await session.by_references([UUID(order.reference) for order in orders])
    asked = {known[order.reference].id: order.trace for order in orders}
    assert asked == {ids[0]: trace, ids[1]: None} == {one.id: one.trace for one in known.values()}
    await session.close()

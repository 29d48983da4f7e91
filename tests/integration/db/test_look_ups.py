"""Questions to the bank that stand in `look_ups`: when they are due again, if it gave no answer."""

from datetime import timedelta

import asyncpg

from db.ledger import Ledger
from db.reconciliation import ReconcilerSession
from runtime.settings import Settings
from tests.integration.db.conftest import accepted, charge, withdraw

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

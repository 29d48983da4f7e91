"""A transition that has begun and waits for its wallet: no other transition gets in between."""

import asyncio
from collections.abc import Callable

import asyncpg

from db.ledger import Ledger
from db.withdrawals import Withdrawals
from runtime.settings import Settings
from tests.integration.db.conftest import accepted, charge, waiting_for_locks, withdraw
from tests.polling import poll_until
from wallet.withdrawal import Status


async def test_what_is_being_cancelled_is_not_begun(
    make_settings: Callable[..., Settings],
    open_withdrawals: Callable[[Settings], Withdrawals],
    ledger: Ledger,
    connection: asyncpg.Connection,
) -> None:
    """Goal: the state that was read stays until the transition is written: the bank is not called in between."""
    # Long enough for a busy machine; whoever waits here is let go as soon as both do.
    settings = make_settings(WBS_LOCK_TIMEOUT_MS="20000", WBS_WRITE_TIMEOUT_MS="40000")
    gateway, actor = open_withdrawals(settings), open_withdrawals(settings)
    await ledger.submit(charge(60))
    id = await accepted(ledger, withdraw(60))

    async def actor_has_asked() -> bool:
        return begin.done() or await waiting_for_locks(connection) == 2

    async with connection.transaction():
        await connection.execute("select from wallets where user_id = 'ann' for update")
        cancel = asyncio.create_task(gateway.cancel(id))
        await poll_until(lambda: waiting_for_locks(connection), 30, what="the cancel waits for the wallet")
        begin = asyncio.create_task(actor.begin_attempt(id, "ann"))
        await poll_until(actor_has_asked, 30, what="the actor waits for the cancel")
    assert (await cancel, await begin) == (Status.CANCELLED, None)

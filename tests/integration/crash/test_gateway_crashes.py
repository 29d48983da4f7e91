"""The gateway is killed in the middle of a request. The client repeats it, with the result of a single request."""

import aiohttp
import asyncpg
import pytest

from tests.integration.crash.launcher import RELEASED_AT_ONCE
from tests.integration.crash.stage import SETTLED_S_MAX, Stage
from tests.locks import in_an_hour
from tests.polling import poll_until
from wallet.commands import Charge

WITHDRAW = {"user_id": "eve", "amount": 70, "idempotency_key": "w-1", "destination": {"iban": "X"}}
CHARGE = {"user_id": "eve", "amount": 70, "idempotency_key": "c-1", "metadata": {"order": 1}}


@pytest.mark.parametrize("step", ["written, not committed", "committed, not answered"])
async def test_killed_while_withdrawing(stage: Stage, step: str) -> None:
    """Goal: key, release of what matured, reserve, withdrawal and outbox row: all are there or none."""
    await stage.charge("eve", 70, release_at=in_an_hour())
    await stage.pipeline.mature()
    await stage.gateway.start(dies_at=f"withdrawal {step}")
    with pytest.raises(aiohttp.ClientError):
        await stage.gateway.post("/withdraw", WITHDRAW)
    await stage.gateway.died()
    committed = step.startswith("committed")
    assert len(await stage.withdrawals()) == committed
    assert await stage.wallet("eve") == ((0, 0, 70) if committed else (0, 70, 0))
    assert await stage.pipeline.outbox() == committed

    await stage.gateway.start()
    status, body, headers = await stage.gateway.post("/withdraw", WITHDRAW)
    assert (status, "idempotent-replayed" in headers) == (202, committed)
    assert (await stage.gateway.post("/withdraw", WITHDRAW))[:2] == (202, body)
    (id_,) = await stage.withdrawals()
    assert str(id_) in headers["location"]
    stage.pipeline.start(stage.pipeline.relay, stage.pipeline.actors, stage.pipeline.reconciler)
    await stage.ends(id_)
    assert await stage.transfers() == {"charge": 1, "release": 1, "reserve": 1, "payout": 1}


@pytest.mark.parametrize("step", ["written, not committed", "committed, not answered"])
async def test_killed_while_charging(stage: Stage, step: str) -> None:
    """Goal: a charge that is asked for again under its key counts once."""
    await stage.gateway.start(dies_at=f"charge {step}")
    with pytest.raises(aiohttp.ClientError):
        await stage.gateway.post("/charge", CHARGE)
    await stage.gateway.died()

    await stage.gateway.start()
    status, body, headers = await stage.gateway.post("/charge", CHARGE)
    assert (status, "idempotent-replayed" in headers) == (200, step.startswith("committed"))
    assert (await stage.gateway.post("/charge", CHARGE))[1] == body
    assert await stage.wallet("eve") == (70, 0, 0)
    await stage.pipeline.audit()


async def test_killed_between_two_steps_of_a_release(stage: Stage) -> None:
    """Goal: many locks that a withdrawal needs are released once each, whoever began with them."""
    number = 3 * RELEASED_AT_ONCE + 1
    for one in range(number):
        charge = Charge("test", f"lock {one}", "eve", "USD", 7, release_at=in_an_hour())
        await stage.pipeline.ledger.submit(charge)
    await stage.pipeline.mature()
    withdraw = WITHDRAW | {"amount": 7 * number}
    await stage.gateway.start(dies_at="release of a withdrawal half done")
    with pytest.raises(aiohttp.ClientError):
        await stage.gateway.post("/withdraw", withdraw)
    await stage.gateway.died()
    assert (await stage.transfers())["release"] == RELEASED_AT_ONCE
    assert await stage.wallet("eve") == (7 * RELEASED_AT_ONCE, 7 * (number - RELEASED_AT_ONCE), 0)

    await stage.gateway.start()
    status, _, headers = await stage.gateway.post("/withdraw", withdraw)
    assert (status, "idempotent-replayed" in headers) == (202, False)
    (id_,) = await stage.withdrawals()
    stage.pipeline.start(stage.pipeline.relay, stage.pipeline.actors, stage.pipeline.reconciler)
    await stage.ends(id_)
    assert await stage.transfers() == {"charge": number, "release": number, "reserve": 1, "payout": 1}


async def test_killed_with_a_request_set_apart(stage: Stage, connection: asyncpg.Connection) -> None:
    """Goal: a request that waits for a locked wallet has moved no money; repeated, it counts once."""
    await stage.charge("eve", 1)
    await stage.gateway.start(dies_at="request set apart")
    async with connection.transaction():
        await connection.execute("select 1 from wallets where user_id = 'eve' for update")
        with pytest.raises(aiohttp.ClientError):
            await stage.gateway.post("/charge", CHARGE)
    await stage.gateway.died()
    assert await stage.wallet("eve") == (1, 0, 0)

    await stage.gateway.start()
    status, body, headers = await stage.gateway.post("/charge", CHARGE)
    assert (status, "idempotent-replayed" in headers) == (200, False)
    assert (await stage.gateway.post("/charge", CHARGE))[1] == body
    assert await stage.wallet("eve") == (71, 0, 0)
    await stage.pipeline.audit()


@pytest.mark.parametrize("step", ["written, not committed", "committed, not answered"])
async def test_killed_while_cancelling(stage: Stage, step: str) -> None:
    """Goal: a withdrawal that was cancelled twice gave its money back once, and is never paid."""
    (id_,) = await stage.pipeline.withdraw(1)
    await stage.gateway.start(dies_at=f"cancel {step}")
    with pytest.raises(aiohttp.ClientError):
        await stage.gateway.post(f"/withdrawals/{id_}/cancel")
    await stage.gateway.died()
    committed = step.startswith("committed")
    assert await stage.wallet("user-1") == ((100, 0, 0) if committed else (0, 0, 100))

    await stage.gateway.start()
    status, _, _ = await stage.gateway.post(f"/withdrawals/{id_}/cancel")
    assert status == 200
    stage.pipeline.start(stage.pipeline.relay, stage.pipeline.actors, stage.pipeline.reconciler)
    await stage.ends(id_, "cancelled")
    assert await stage.wallet("user-1") == (100, 0, 0)


@pytest.mark.parametrize(
    "step", ["callback not written", "callback written, not committed", "callback written, not answered"]
)
async def test_killed_while_money_comes_back(stage: Stage, step: str) -> None:
    """Goal: the bank tells of a return until it is answered; asked about it, it gives the money back once."""
    (id_,) = await stage.pipeline.withdraw(1)
    stage.pipeline.start(stage.pipeline.relay, stage.pipeline.actors)
    await stage.pipeline.becomes(id_, "completed", SETTLED_S_MAX)
    await stage.gateway.start(dies_at=step)
    await stage.bank.send_back(await stage.pipeline.reference(id_))
    await stage.gateway.died()
    written = step == "callback written, not answered"
    assert len(await stage.pipeline.execute("select 1 from look_ups")) == int(written)
    assert await stage.wallet("user-1") == (0, 0, 0)

    await stage.gateway.start()
    await poll_until(stage.callbacks_taken, SETTLED_S_MAX, what="the bank's callback is answered")
    stage.pipeline.reconciler.start()
    await stage.ends(id_, "returned")
    assert await stage.wallet("user-1") == (100, 0, 0)
    assert (await stage.transfers())["return"] == 1

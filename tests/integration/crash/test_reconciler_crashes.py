"""The reconciler killed in the middle of what it does."""

import pytest

from tests.integration.crash.stage import SETTLED_S_MAX, Stage
from tests.locks import in_an_hour
from tests.polling import poll_until


@pytest.mark.parametrize("step", ["about to release", "release written, not committed", "release committed"])
async def test_killed_while_releasing(stage: Stage, step: str) -> None:
    """Goal: money whose time has come is released once."""
    await stage.charge("eve", 70, release_at=in_an_hour())
    await stage.pipeline.mature()
    await stage.start_crashing("actors.reconciler", step).died()
    committed = step == "release committed"
    assert await stage.wallet("eve") == ((70, 0, 0) if committed else (0, 70, 0))
    assert (await stage.transfers())["release"] == int(committed)

    stage.pipeline.reconciler.start()

    async def released() -> bool:
        return await stage.wallet("eve") == (70, 0, 0)

    await poll_until(released, SETTLED_S_MAX, what="the money is released")
    await poll_until(stage.beats("reconciler"), SETTLED_S_MAX, what="the reconciler goes on")
    assert (await stage.transfers())["release"] == 1
    await stage.pipeline.audit()


async def test_killed_after_announcing(patient_stage: Stage) -> None:
    """Goal: the message is in the outbox, so it is carried even if its writer has died."""
    stage = patient_stage
    (id_,) = await stage.pipeline.withdraw(1)
    await stage.pipeline.execute("delete from outbox")  # as if the message had been lost
    await stage.start_crashing("actors.reconciler", "redriven").died()
    assert await stage.pipeline.outbox() == 1

    stage.pipeline.start(stage.pipeline.relay, stage.pipeline.actors)
    await stage.ends(id_)


async def test_killed_while_settling_by_the_banks_books(stage: Stage) -> None:
    """Goal: a withdrawal that the bank has paid is completed without any actor; rereading the books changes nothing."""
    (id_,) = await stage.pipeline.withdraw(1)
    stage.pipeline.relay.start()
    await stage.start_crashing("actors.__main__", "reply read").died()
    assert (await stage.pipeline.row(id_))["status"] == "processing"

    step = "to be looked up by the bank's books, cursor not moved"
    await stage.start_crashing("actors.reconciler", step).died()
    assert len(await stage.pipeline.execute("select 1 from look_ups")) == 1
    assert await _cursor(stage) is None

    await stage.start_crashing("actors.reconciler", "look-up committed, still due").died()
    assert (await stage.pipeline.row(id_))["status"] == "completed"
    assert len(await stage.pipeline.execute("select 1 from look_ups")) == 1

    stage.pipeline.reconciler.start()

    async def has_read_on() -> bool:
        return await _cursor(stage) is not None

    await poll_until(has_read_on, SETTLED_S_MAX, what="the bank's books are read")
    assert (await stage.transfers())["payout"] == 1
    stage.pipeline.actors.start()  # for the message that is still there
    await stage.ends(id_)


@pytest.mark.parametrize(
    "step", ["bank asked, nothing written", "look-up written, not committed", "look-up committed, still due"]
)
async def test_killed_while_money_comes_back(stage: Stage, step: str) -> None:
    """Goal: a return found by a look-up is booked once, whenever the reconciler dies."""
    (id_,) = await stage.pipeline.withdraw(1)
    stage.pipeline.start(stage.pipeline.relay, stage.pipeline.actors)
    await stage.pipeline.becomes(id_, "completed", SETTLED_S_MAX)
    await stage.gateway.start()
    await stage.bank.send_back(await stage.pipeline.reference(id_))
    await poll_until(stage.callbacks_taken, SETTLED_S_MAX, what="the bank's callback is answered")

    await stage.start_crashing("actors.reconciler", step).died()
    committed = step.startswith("look-up committed")
    assert (await stage.pipeline.row(id_))["status"] == ("returned" if committed else "completed")
    assert await stage.wallet("user-1") == ((100, 0, 0) if committed else (0, 0, 0))
    assert len(await stage.pipeline.execute("select 1 from look_ups")) == 1

    stage.pipeline.reconciler.start()
    await stage.ends(id_, "returned")
    assert await stage.wallet("user-1") == (100, 0, 0)
    assert (await stage.transfers())["return"] == 1


async def _cursor(stage: Stage) -> str | None:
    (row,) = await stage.pipeline.execute("select after from bank_cursor")
    after: str | None = row["after"]
    return after

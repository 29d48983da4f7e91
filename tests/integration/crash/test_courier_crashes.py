"""The courier killed at each step of giving numbers, and a leader that was frozen and comes back."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from db.connections import Reader
from tests.integration.actors.processes import Process
from tests.integration.crash.launcher import NUMBERED_AT_ONCE
from tests.integration.crash.stage import SETTLED_S_MAX, Stage
from tests.integration.sequence import require_order, told
from tests.locks import in_a_month
from tests.polling import poll_until
from wallet.commands import Charge, Leg, MakeTransfer, PlaceHold
from wallet.events import Event
from wallet.follow_up_commands import CaptureHold, VoidHold

STEPS = {
    # step: transactions that have given numbers by then; None: nobody can know
    "about to number": 0,
    "before begin": 1,
    "after begin": 1,
    "before lock": 1,
    "after lock": 1,
    "before numbers": 1,
    "after numbers": 1,
    "before commit": 1,
    "in the commit of numbers": None,
    "after commit": 2,
}
TYPES = [
    *["charge.completed", "transfer.completed", "hold.opened", "hold.captured", "transfer.completed"],
    *["hold.opened", "hold.voided"],
]
BATCHES = 6
"""Of what `move` does: a capture makes two events."""


@pytest_asyncio.fixture
async def reader(patient_stage: Stage) -> AsyncIterator[Reader]:
    """Reads the stage's events."""
    reader = Reader(patient_stage.pipeline.settings.database, size=1)
    yield reader
    reader.terminate()


async def move(stage: Stage) -> None:
    """Move money in six batches, all of one wallet."""
    ledger = stage.pipeline.ledger
    await ledger.submit(Charge("test", "money", "eve", "USD", 100))
    await ledger.submit(MakeTransfer("test", "transfer", "eve", "USD", 10, (Leg("bob", 10),)))
    for number in (1, 2):
        held = await ledger.submit(PlaceHold("test", f"hold {number}", "eve", "USD", 20, in_a_month()))
        legs = (Leg("bob", 15),)
        request = (
            CaptureHold("test", "capture", held.receipt.id, legs)
            if number == 1
            else VoidHold(held.receipt.id)
        )
        await ledger.follow_up(request)


async def waiting(stage: Stage) -> int:
    """Return the number of batches that wait for a number."""
    return len(await stage.pipeline.execute("select from event_batches"))


async def all_numbered(stage: Stage, reader: Reader, connection: asyncpg.Connection) -> list[Event]:
    """Wait until nothing waits for a number; return the events, which have no gap and the right order."""

    async def none_waits() -> bool:
        return not await waiting(stage)

    await poll_until(none_waits, SETTLED_S_MAX, what="all has a number")
    await stage.pipeline.audit()
    found = await told(reader)
    await require_order(connection, found)
    return found


@pytest.mark.parametrize("step", STEPS)
async def test_killed_while_numbering(
    patient_stage: Stage, reader: Reader, connection: asyncpg.Connection, step: str
) -> None:
    """Goal: whatever the courier has come to, the next one goes on: no gap, no double, no other order."""
    stage = patient_stage
    await move(stage)
    assert await waiting(stage) == BATCHES
    await stage.start_crashing("actors.courier", step).died()
    transactions = STEPS[step]
    expected = {transactions} if transactions is not None else {1, 2}

    async def has_rolled_back() -> bool:
        return await waiting(stage) in {BATCHES - NUMBERED_AT_ONCE * number for number in expected}

    await poll_until(has_rolled_back, what="what was numbered")
    before = await told(reader)
    await stage.pipeline.audit()

    courier = Process("actors.courier", stage.folder, stage.pipeline.environment)
    courier.start()
    try:
        found = await all_numbered(stage, reader, connection)
        assert [event.type for event in found] == TYPES
        assert found[: len(before)] == before
        assert len({event.body.epoch for event in found}) == 1
    finally:
        courier.ensure_gone()


async def test_a_frozen_leader_comes_back(
    patient_stage: Stage, reader: Reader, connection: asyncpg.Connection
) -> None:
    """Goal: a leader that stands still with numbers written holds nobody up for ever, and does no harm afterwards."""
    stage = patient_stage
    await move(stage)
    frozen = stage.start_crashing("actors.courier", "frozen after numbers")
    await frozen.reached()
    assert await waiting(stage) == BATCHES - NUMBERED_AT_ONCE
    successor = Process("actors.courier", stage.folder, stage.pipeline.environment)
    successor.start()
    try:
        found = await all_numbered(stage, reader, connection)
        frozen.thaw()
        await move_again(stage, frozen)
        assert (await all_numbered(stage, reader, connection))[: len(found)] == found
        assert [event.type for event in found] == TYPES
        assert successor.stop() == 0
        await stage.charge("carl", 3)
        last = await all_numbered(stage, reader, connection)  # it is the frozen one that leads now
        assert last[-1].user_ids == ("carl",)
        assert len({event.body.epoch for event in last}) == 1
        assert frozen.stop() == 0
    finally:
        successor.ensure_gone()


async def move_again(stage: Stage, thawed: Process) -> None:
    """Move money until a process that was frozen has found out that its session is gone."""

    async def has_found_out() -> bool:
        await stage.pipeline.ledger.submit(Charge("test", f"more {await waiting(stage)}", "eve", "USD", 1))
        return "courier_waits" in thawed.log.read_text()

    await poll_until(has_found_out, SETTLED_S_MAX, what="its transaction has failed", interval_s=0.1)

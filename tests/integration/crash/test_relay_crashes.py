"""The relay killed at each step of a message's way from the outbox to RabbitMQ."""

import pytest

from tests.integration.crash.stage import Stage
from tests.polling import poll_until

STEPS = {
    # step: (rows in the outbox, messages in RabbitMQ) once the process is dead
    "outbox claimed": (1, 0),
    "published, not confirmed": (1, 1),
    "confirmed, not deleted": (1, 1),
    "deleted, not committed": (1, 1),
    "deletion committed": (0, 1),
}


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at(patient_stage: Stage, step: str) -> None:
    """Goal: a message is in the outbox until RabbitMQ has it; published twice, it is paid once."""
    stage = patient_stage
    rows, messages = STEPS[step]
    (id_,) = await stage.pipeline.withdraw(1)
    await stage.start_crashing("actors.relay", step).died()
    assert await stage.pipeline.outbox() == rows
    await poll_until(lambda: stage.pipeline.queued() == messages, what=f"{messages} messages in the queue")
    assert (await stage.pipeline.row(id_))["status"] == "pending"

    # Without a reconciler: the outbox alone must do, within the time in which nobody announces again.
    stage.pipeline.relay.start()
    if rows:
        await poll_until(lambda: stage.pipeline.queued() == messages + 1, 30, what="published again")
    stage.pipeline.actors.start()
    await stage.ends(id_)
    assert (await stage.pipeline.row(id_))["attempts"] == 1

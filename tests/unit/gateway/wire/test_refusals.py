"""Who is refused much pays for it with time."""

import asyncio
import time

import pytest

from gateway.wire.refusals import RECEIVED_BYTES, REFUSED_BURST, REFUSED_PER_S, WAIT_S_MAX, Refusals, Worked
from gateway.wire.response import Response


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited, without waiting."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return waited


async def test_each_refusal_is_paid_for(waits: list[float]) -> None:
    """Goal: what is free is used up first; then a client waits for work, size and number; others do not."""
    now = 0.0
    refusals = Refusals(lambda: now)
    for _ in range(REFUSED_BURST - 1):
        await refusals.pay("a")
    assert waits == []
    for _ in range(2):
        await refusals.pay("a")
    waits[:] = waits[-1:]  # the very last one that is free may be rounded
    await refusals.pay("a", worked_s=0.02)
    await refusals.pay("a", size=2 * RECEIVED_BYTES)
    prices = [1, 1 + 21, 1 + 21 + 3]
    assert waits == pytest.approx([price / REFUSED_PER_S for price in prices])
    assert refusals.debt_s("a") == pytest.approx(25 / REFUSED_PER_S)
    await refusals.settle("b")
    assert len(waits) == 3, "another client waited"
    now += 25 / REFUSED_PER_S + 0.001
    await refusals.settle("a")
    assert len(waits) == 3, "all was paid"
    refusals.owe("a", worked_s=0.05)
    assert len(waits) == 3
    await refusals.settle("a")
    assert waits[3:] == pytest.approx([0.51 - 0.001])


async def test_nobody_waits_longer_than_that(waits: list[float]) -> None:
    """Goal: a debt has a bound, so that nobody waits for long after it has stopped; later all is free again."""
    now = 100.0
    refusals = Refusals(lambda: now)
    for _ in range(3):
        await refusals.pay("a", worked_s=60)
    assert waits == pytest.approx([WAIT_S_MAX] * 3)
    now += WAIT_S_MAX + REFUSED_BURST / REFUSED_PER_S
    for _ in range(REFUSED_BURST - 1):
        await refusals.pay("a")
    assert len(waits) == 3


async def test_only_own_work_is_measured() -> None:
    """Goal: what others do meanwhile does not count; results, errors and cancellation go through."""

    async def work() -> str:
        for _ in range(10):
            until = time.thread_time() + 0.01
            while time.thread_time() < until:
                pass
            await asyncio.sleep(0)
        return "done"

    both = Worked(work()), Worked(work())

    async def measured(worked: Worked[str]) -> str:
        return await worked

    assert await asyncio.gather(*map(measured, both)) == ["done", "done"]
    for worked in both:
        assert 0.1 <= worked.seconds < 0.15

    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError

    with pytest.raises(LookupError):
        await Worked(fail())
    cleaned = []

    async def wait_for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    async def waiting() -> None:
        await Worked(wait_for_ever())

    task = asyncio.create_task(waiting())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned


def test_a_bulk_is_paid_for_by_what_was_refused_of_it() -> None:
    """Goal: of a bulk's work, its client pays the part of the items that were refused."""
    bulk = Response(b"[]")
    assert bulk.refused_share == 0
    bulk.wrote = {"items": 4, "refused": 1}
    assert bulk.refused_share == 0.25

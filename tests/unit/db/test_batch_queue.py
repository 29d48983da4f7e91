"""A batch begins at once if nothing else is under way, otherwise a moment later if that fills it."""

import asyncio
import time
from typing import Any

from db.batch_queue import BatchQueue
from tests.polling import keeps, poll_until

LINGER_S = 0.2
LONG_S = 60.0
"""No machine is so slow that this could be taken for anything else."""


def batch_queue(
    batch_max: int = 10, linger_s: float = LINGER_S, awaited: float = 0.5, **more: Any
) -> BatchQueue[int]:
    """Return an empty queue with a linger long enough to be seen."""
    return BatchQueue(batch_max=batch_max, linger_s=linger_s, awaited=awaited, **more)


async def batch_of(queue: BatchQueue[int], *items: int) -> tuple[list[int], float]:
    """Ask for the next batch, then add the items; return the batch and the seconds that it took."""

    async def add() -> None:
        for item in items:
            queue.add(item)

    started = time.perf_counter()
    batch, _ = await asyncio.gather(queue.next_batch(), add())
    return batch, time.perf_counter() - started


async def test_a_single_item_does_not_wait() -> None:
    """Goal: an idle service takes a request at once, time after time."""
    queue = batch_queue(linger_s=LONG_S)
    for number in range(3):
        batch, seconds = await batch_of(queue, number)
        assert batch == [number]
        assert seconds < LONG_S / 2


async def test_all_can_be_awaited() -> None:
    """Goal: after a batch of three, the next begins as soon as three are there, if all are to be waited for."""
    queue = batch_queue(linger_s=LONG_S, awaited=1.0)
    await batch_of(queue, 0, 1, 2)
    batch, seconds = await batch_of(queue, 3, 4, 5)
    assert batch == [3, 4, 5]
    assert seconds < LONG_S / 2


async def test_half_of_those_under_way_make_a_batch() -> None:
    """Goal: after a batch of four, with two more waiting by then, the next begins as soon as three are there."""
    queue = batch_queue(linger_s=LONG_S)
    await batch_of(queue, 0, 1, 2, 3)
    queue.add(4)
    queue.add(5)
    batch, seconds = await batch_of(queue, 6)
    assert batch == [4, 5, 6]
    assert seconds < LONG_S / 2


async def test_those_who_come_at_a_steady_pace_do_not_wait() -> None:
    """Goal: if as many items came during a batch as were in it, the next batch begins at once."""
    queue = batch_queue(linger_s=LONG_S)
    await batch_of(queue, 0, 1, 2)
    for number in (3, 4, 5):
        queue.add(number)
    batch, seconds = await batch_of(queue)
    assert batch == [3, 4, 5]
    assert seconds < LONG_S / 2


async def test_those_who_do_not_come_back_are_not_waited_for_long() -> None:
    """Goal: one of four comes back: its batch begins after the linger, not later."""
    queue = batch_queue()
    await batch_of(queue, 0, 1, 2, 3)
    batch, seconds = await batch_of(queue, 4)
    assert batch == [4]
    assert LINGER_S * 0.9 <= seconds < LINGER_S * 50


async def test_after_a_pause_nobody_is_waited_for() -> None:
    """Goal: the first request after a busy time and a pause is not held up for company that has gone."""

    async def after_a_pause() -> float:
        queue = batch_queue()
        await batch_of(queue, 0, 1, 2)
        waiting = asyncio.ensure_future(queue.next_batch())
        over = time.perf_counter() + LINGER_S * 1.5
        await poll_until(lambda: time.perf_counter() > over, what="the pause is over")
        started = time.perf_counter()
        queue.add(3)
        assert await waiting == [3]
        return time.perf_counter() - started

    await keeps(LINGER_S, after_a_pause)


async def test_no_batch_is_longer_than_allowed() -> None:
    """Goal: what does not fit into one batch comes in the next, in order; closed, the queue is emptied."""
    queue = batch_queue(batch_max=2)
    for number in range(5):
        queue.add(number)
    assert [await queue.next_batch() for _ in range(2)] == [[0, 1], [2, 3]]
    queue.close()
    assert await queue.next_batch() == [4]
    assert await queue.next_batch() == []


async def test_what_belongs_together_is_in_one_batch() -> None:
    """Goal: more than one batch can take is shared out by order: tens here, the first come first among equals."""
    queue = batch_queue(batch_max=3, order=lambda item: item // 10)
    for item in (25, 12, 31, 14, 22, 37, 11, 21):
        queue.add(item)
    batches = [await queue.next_batch()]
    queue.add(10)  # too late for this run
    assert len(queue) == 7
    batches += [await queue.next_batch() for _ in range(3)]
    assert batches == [[12, 14], [11, 25, 22], [21, 31, 37], [10]]
    assert len(queue) == 0


async def test_nobody_is_overtaken_for_long() -> None:
    """Goal: only a limited number of batches is sorted together; earlier items are written before them."""
    queue = batch_queue(batch_max=2, order=lambda item: -item)
    for item in range(20):
        queue.add(item)
    assert [await queue.next_batch() for _ in range(5)] == [[7, 6], [5, 4], [3, 2], [1, 0], [15, 14]]
    assert sorted(queue.take_all()) == [*range(8, 14), *range(16, 20)]
    assert len(queue) == 0
    queue.close()
    assert await queue.next_batch() == []


async def test_what_fits_into_one_batch_stays_in_order_of_arrival() -> None:
    """Goal: items are sorted only if there are too many for one batch."""
    queue = batch_queue(batch_max=3, order=lambda item: -item)
    for item in (1, 2, 3):
        queue.add(item)
    assert await queue.next_batch() == [1, 2, 3]

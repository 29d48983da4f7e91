"""Long work leaves turns to others."""

import asyncio

import pytest

from gateway.wire.turns import SLICE_ITEMS, Turns

LONG = [("a", n) for n in range(10 * SLICE_ITEMS)]


async def test_others_get_their_turns() -> None:
    """Goal: whoever is ready gets a turn after each slice; results come in order; short work is done at once."""
    turns, ticks = Turns(), 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticking = asyncio.create_task(tick())
    assert await turns.map("a", lambda item: item[1], LONG) == list(range(len(LONG)))
    assert ticks >= 9
    before = ticks
    assert await turns.map("a", lambda item: item[1], LONG[:SLICE_ITEMS]) == list(range(SLICE_ITEMS))
    assert ticks == before
    ticking.cancel()


async def test_many_of_one_client_delay_others_as_one_does() -> None:
    """Goal: the requests of a client are worked on one by one, those of two clients side by side."""
    turns = Turns()
    done: list[str] = []

    def work(item: tuple[str, int]) -> None:
        done.append(item[0])

    def items(name: str) -> list[tuple[str, int]]:
        return [(name, number) for _, number in LONG]

    await asyncio.gather(
        *(turns.map("greedy", work, items(f"greedy {number}")) for number in range(3)),
        turns.map("modest", work, items("modest")),
    )
    last = max(index for index, name in enumerate(done) if name == "modest")
    assert last <= 2 * len(LONG)
    first = [done.index(f"greedy {number}") for number in range(3)]
    assert first == sorted(first)
    assert done.index("greedy 1") > max(index for index, name in enumerate(done) if name == "greedy 0")


async def test_an_error_ends_the_turn() -> None:
    """Goal: work that fails does not stand in the way of the next one."""
    turns = Turns()
    with pytest.raises(ZeroDivisionError):
        await turns.map("a", lambda item: 1 // (item[1] - 60), LONG)
    assert len(await turns.map("a", lambda item: item, LONG)) == len(LONG)

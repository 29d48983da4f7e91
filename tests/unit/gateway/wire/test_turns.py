"""Long work leaves turns to others."""

import asyncio
from itertools import count

import pytest

from gateway.wire.turns import AT_ONCE, Turns

LONG = [("a", n) for n in range(60)]


def turns() -> Turns:
    """Return turns by a clock on which each item takes a millisecond."""
    moments = count()
    return Turns(lambda: next(moments) / 1_000)


async def test_others_get_their_turns() -> None:
    """Goal: whoever is ready gets turns after each slice; results come in order; short work is done at once."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticking = asyncio.create_task(tick())
    assert await turns().map("a", lambda item: item[1], LONG) == list(range(len(LONG)))
    assert ticks >= 20
    before = ticks
    assert await turns().map("a", lambda item: item[1], LONG[:AT_ONCE]) == list(range(AT_ONCE))
    assert ticks == before
    ticking.cancel()


async def test_many_of_one_client_delay_others_as_one_does() -> None:
    """Goal: the requests of a client are worked on one by one, those of two clients side by side."""
    shared = turns()
    done: list[str] = []

    def work(item: tuple[str, int]) -> None:
        done.append(item[0])

    def items(name: str) -> list[tuple[str, int]]:
        return [(name, number) for _, number in LONG]

    await asyncio.gather(
        *(shared.map("greedy", work, items(f"greedy {number}")) for number in range(3)),
        shared.map("modest", work, items("modest")),
    )
    last = max(index for index, name in enumerate(done) if name == "modest")
    assert last <= 2.2 * len(LONG)
    assert done.index("greedy 1") > max(index for index, name in enumerate(done) if name == "greedy 0")
    assert done.index("greedy 2") > max(index for index, name in enumerate(done) if name == "greedy 1")


async def test_an_error_ends_the_turn() -> None:
    """Goal: work that fails does not stand in the way of the next one."""
    shared = turns()
    with pytest.raises(ZeroDivisionError):
        await shared.map("a", lambda item: 1 // (item[1] - 40), LONG)
    assert len(await shared.map("a", lambda item: item, LONG)) == len(LONG)

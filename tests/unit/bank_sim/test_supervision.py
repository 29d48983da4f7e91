"""The bank's own tasks: no error ends one for good, and no caller waits for its books for ever."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from bank_sim.books import Books, BooksFailed
from bank_sim.supervision import keep_running
from tests.polling import poll_until

ENDINGS: list[BaseException] = [RuntimeError("a bug"), SystemExit(1), asyncio.CancelledError()]


@pytest.mark.parametrize("ending", [*ENDINGS, None], ids=str)
async def test_a_task_begins_anew(ending: BaseException | None) -> None:
    """Goal: an error of any kind, or a return, does not end what lives as long as the bank; a cancellation does."""
    runs = 0

    async def run() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            if ending is not None:
                raise ending
            return
        await asyncio.Event().wait()

    task = keep_running("test", run)
    await poll_until(lambda: runs == 2)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert runs == 2


class File:
    """The books' file, whose writes have planned results."""

    def __init__(self, *plan: Any) -> None:
        self.plan = list(plan)

    def write(self, operations: Sequence[object]) -> Any:
        answer = self.plan.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        """Close it."""


@pytest.mark.parametrize("nonsense", [RuntimeError("a full disk"), [], None, SystemExit(1)], ids=repr)
async def test_whatever_a_write_says_its_callers_are_answered(nonsense: Any) -> None:
    """Goal: a write that fails, or answers too little, fails those who wait for it, and the next goes through."""
    books = Books(File(nonsense, ["booked"]))  # type: ignore[arg-type]
    with pytest.raises(BooksFailed):
        await asyncio.wait_for(books.submit("one"), 60)  # type: ignore[arg-type]
    assert await asyncio.wait_for(books.submit("two"), 60) == "booked"  # type: ignore[arg-type,comparison-overlap]
    await books.close()


async def test_a_flusher_that_was_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: payouts behind the batch in which the flusher was cancelled are still written."""
    books = Books(File(["first"], ["second"]))  # type: ignore[arg-type]
    monkeypatch.setattr("bank_sim.books.BATCH_MAX", 1)
    first, second = books.submit("one"), books.submit("two")  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert books._flusher is not None
    books._flusher.cancel()
    with pytest.raises(BooksFailed):
        await asyncio.wait_for(first, 60)
    assert await asyncio.wait_for(second, 60) == "second"  # type: ignore[comparison-overlap]
    await books.close()

"""Waiting in tests: for a condition, never for a time. The only place in the tests that sleeps.

How long something takes says as much about the machine as about the code. So a wait is given up only after a time
that no machine needs, and what is promised in seconds is asked for in several tries.
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")

INTERVAL_S = 0.01
GIVEN_UP_S = 60.0
TRIES_MAX = 5
FAR = 10


@overload
async def poll_until(
    condition: Callable[[], Awaitable[T]], timeout_s: float = ..., *, what: str = ..., interval_s: float = ...
) -> T: ...


@overload
async def poll_until(
    condition: Callable[[], T], timeout_s: float = ..., *, what: str = ..., interval_s: float = ...
) -> T: ...


async def poll_until(
    condition: Callable[[], T | Awaitable[T]],
    timeout_s: float = GIVEN_UP_S,
    *,
    what: str = "",
    interval_s: float = INTERVAL_S,
) -> T:
    """Return the first true value of `condition()` (sync or async). AssertionError after `timeout_s`.

    A condition that costs others work, a request say, is better looked at less often.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        answer = condition()
        value: T = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        assert time.monotonic() < deadline, _too_late(condition, timeout_s, what)
        await asyncio.sleep(interval_s)


def wait_until(condition: Callable[[], T], timeout_s: float = GIVEN_UP_S, *, what: str = "") -> T:
    """Do what `poll_until` does, outside an event loop."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, _too_late(condition, timeout_s, what)
        time.sleep(INTERVAL_S)


async def keeps(promise_s: float, attempt: Callable[[], Awaitable[float]], *, what: str = "") -> None:
    """Assert a promise about time. `attempt` does the thing and returns how many seconds that took.

    One of several tries has to keep it, since others use the machine too; none may miss it by far.
    """
    took: list[float] = []
    for _ in range(TRIES_MAX):
        took.append(await attempt())
        assert took[-1] < promise_s * FAR, f"promised within {promise_s:g} s: {what} took {took[-1]:.1f} s"
        if took[-1] < promise_s:
            return
    raise AssertionError(f"promised within {promise_s:g} s: {what} took {[round(s, 2) for s in took]} s")


def _too_late(condition: Callable[[], object], timeout_s: float, what: str) -> str:
    name = what or getattr(condition, "__qualname__", repr(condition))
    return f"after {timeout_s:g} s still not true: {name}"

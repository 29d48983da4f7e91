"""Waiting in tests: for a condition, never for a time. The only place in the tests that sleeps."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

INTERVAL_S = 0.01


async def poll_until(
    condition: Callable[[], T | Awaitable[T]],
    timeout_s: float = 10.0,
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


def wait_until(condition: Callable[[], T], timeout_s: float = 10.0, *, what: str = "") -> T:
    """Do what `poll_until` does, outside an event loop."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, _too_late(condition, timeout_s, what)
        time.sleep(INTERVAL_S)


def _too_late(condition: Callable[[], object], timeout_s: float, what: str) -> str:
    name = what or getattr(condition, "__qualname__", repr(condition))
    return f"after {timeout_s:g} s still not true: {name}"

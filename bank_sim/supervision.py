"""Keeps a task running that lives as long as the bank: whatever ends it is logged, and it begins anew."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from .telemetry import log

PAUSE_S_MIN = 0.1
PAUSE_S_MAX = 2.0  # doubled up to this, so that what fails for ever costs next to nothing
STEADY_S = 5.0  # a run that lasted so long went well


def keep_running(name: str, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
    """Run it on the running event loop until the returned task is cancelled. A return ends nothing either."""
    return asyncio.get_running_loop().create_task(_keep_running(name, run), name=name)


async def _keep_running(name: str, run: Callable[[], Awaitable[None]]) -> None:
    task = asyncio.current_task()
    assert task is not None
    clock = asyncio.get_running_loop().time
    pause_s = PAUSE_S_MIN
    while True:
        began_at = clock()
        try:
            await run()
            log("task_returned", logging.ERROR, task=name)
        except BaseException as error:  # a task that raised SystemExit would end the event loop
            if isinstance(error, asyncio.CancelledError) and task.cancelling():
                raise
            log("task_failed", logging.ERROR, exc_info=True, task=name)
        if clock() - began_at >= STEADY_S:
            pause_s = PAUSE_S_MIN
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_S_MAX)

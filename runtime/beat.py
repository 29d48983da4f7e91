"""The beat: a process shows on its own machine that it does its work.

The event loop that does the work touches a file every second (`WBS_BEAT_FILE`), as long as none of its tasks is
failing. The watcher of the process (`ops.local.watchdog` below `wbs up`, `runtime.parent` in a container) kills it
when no beat has come for 10 s, because a process that is frozen or loops does not end by itself. The beat says nothing
about PostgreSQL, RabbitMQ or the bank: a process that waits for one of them still beats.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if (
    TYPE_CHECKING
):  # a process that only watches needs none of the imports of a task: it starts faster and is smaller
    from runtime.tasks import SupervisedTasks

VARIABLE = "WBS_BEAT_FILE"
INTERVAL_S = 1.0
SILENT_S_MAX = 10.0
"""A process that has beaten before and then stays silent for this long is dead."""
START_S_MAX = 60.0
"""Longest time until a process's first beat."""
LOOK_S = 0.5
"""Interval at which a watcher looks."""
LATE_S_MAX = 2.0
"""A watcher whose look comes later than this was frozen itself, or its machine was suspended."""


def touch(file: Path) -> None:
    """Beat once. Raises OSError."""
    try:
        os.utime(file)
    except FileNotFoundError:
        file.touch()


def start(tasks: "SupervisedTasks") -> None:
    """Beat from now on, on the running event loop: for the watcher, if one exists, and for Prometheus.

    Pause while one of these tasks is failing.
    """
    from runtime.telemetry import BEAT_TIMESTAMP_SECONDS

    named = os.environ.get(VARIABLE)
    file = Path(named) if named else None
    tasks.start(
        "beat", partial(beat_for_ever, file, tasks.failing, BEAT_TIMESTAMP_SECONDS.set_to_current_time)
    )


async def beat_for_ever(
    file: Path | None, failing: Callable[[], Sequence[str]], measure: Callable[[], None]
) -> None:
    """Beat every second on the running event loop while `failing()` is empty, and call `measure`. Raises OSError."""
    while True:
        if not failing():
            measure()
            if file is not None:
                touch(file)
        await asyncio.sleep(INTERVAL_S)


class BeatWatch:
    """Judges one process by the changes of its file's time stamp.

    Only the watcher's own monotonic clock counts: stamps are compared with each other, never with a clock, so setting
    the system clock changes nothing. Make a new watch for each process: the stamp of an earlier one is not a beat.
    """

    def __init__(self, file: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._clock = clock
        self._stamp = self._read()
        self._looked_at = self._heard_at = clock()
        self._limit_s = START_S_MAX

    def is_silent(self) -> bool:
        """Look, and return whether the process has been silent for too long. Call it every `LOOK_S`."""
        now = self._clock()
        if now - self._looked_at > LATE_S_MAX:
            # While we did not run, the process may not have run either: that time does not count against it.
            self._heard_at += now - self._looked_at
        self._looked_at = now
        stamp = self._read()
        if stamp is not None and stamp != self._stamp:
            self._stamp, self._heard_at, self._limit_s = stamp, now, SILENT_S_MAX
        return now - self._heard_at >= self._limit_s

    def _read(self) -> int | None:
        try:
            return self._file.stat().st_mtime_ns
        except OSError:
            return None

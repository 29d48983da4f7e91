"""Short progress lines: the step that is under way, and the seconds since the start."""

import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

TICK_S = 3.0  # a longer wait prints a line again, so that the terminal is never silent for long


class Progress:
    """Lines `[ 3.2 s] text` on a stream; on none at all when used as a library."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._started_at = time.monotonic()

    @classmethod
    def to_terminal(cls) -> "Progress":
        """Return progress as `wbs` shows it: on stderr, so that stdout carries results only."""
        return cls(sys.stderr)

    def say(self, text: str) -> None:
        """Print one line with the seconds since the start."""
        if self._stream is not None:
            elapsed_s = time.monotonic() - self._started_at
            print(f"[{elapsed_s:5.1f} s] {text}", file=self._stream, flush=True)


def poll(
    condition: Callable[[], bool],
    *,
    what: str,
    timeout_s: float,
    progress: Progress,
    interval_s: float = 0.1,
) -> bool:
    """Wait until `condition()` holds, with a line every few seconds; return True if it did within `timeout_s`."""
    for _ in ticks(what=what, timeout_s=timeout_s, progress=progress, interval_s=interval_s):
        if condition():
            return True
    return condition()


def ticks(*, what: str, timeout_s: float, progress: Progress, interval_s: float = 0.1) -> Iterator[None]:
    """Yield every `interval_s` until `timeout_s` is over, saying now and then that it still waits."""
    started_at = time.monotonic()
    say_at = started_at + TICK_S
    while (now := time.monotonic()) < started_at + timeout_s:
        if now >= say_at:
            progress.say(f"  still waiting for {what} ({now - started_at:.0f} of at most {timeout_s:.0f} s)")
            say_at = now + TICK_S
        yield
        time.sleep(interval_s)

"""The trail of requests and payouts on standard output: one line per request that writes, one per step of a payout.

All other events go to standard error (`runtime.telemetry`). They are apart because there are thousands of lines per
second under load, and none of them may push out the beginning of a trouble.

A thread makes and writes the lines, ten times per second: to note one costs its caller 1 µs, and nobody waits for
whoever reads them. If they are read too slowly, lines are left out, and the next line says how many (`left_out`). A
process that is killed loses the lines of its last moment: the truth is in the database.
"""

import atexit
import os
import threading
from collections import deque
from datetime import UTC, datetime
from time import time
from typing import Any

import msgspec

INTERVAL_S = 0.1
WAITING_MAX = 50_000
"""Lines in memory that are not written yet."""
CLOSE_S_MAX = 2.0
"""Longest wait for the last lines at the end of the process."""

_encode_lines = msgspec.json.Encoder(enc_hook=str).encode_lines


class Trail:
    """Writes the lines, once it is opened. Before that, and below the level `info`, none is kept."""

    def __init__(self) -> None:
        self._kind = ""
        self._descriptor = 1
        self._open = False
        self._waiting: deque[tuple[float, str, dict[str, Any]]] = deque()
        self._left_out = 0
        self._pid = 0
        self._second, self._second_text = -1, ""
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self, process_kind: str, *, descriptor: int = 1) -> None:
        """Write what is noted from now on to `descriptor`."""
        if self._open:
            self.close()
        self._kind, self._pid, self._descriptor, self._open = process_kind, os.getpid(), descriptor, True
        self._closing.clear()
        self._thread = threading.Thread(target=self._run, name="trail", daemon=True)
        self._thread.start()

    def note(self, event: str, **ids: Any) -> None:
        """Write a line: time, process, `event` and its ids. Never pass a secret or a whole idempotency key."""
        if not self._open:
            return
        if len(self._waiting) < WAITING_MAX:
            self._waiting.append((time(), event, ids))
        else:
            self._left_out += 1

    def close(self) -> None:
        """Write what is waiting, and stop. The wait for a reader has a limit."""
        self._open = False
        self._closing.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S_MAX)
            self._thread = None

    def _run(self) -> None:
        while not self._closing.wait(INTERVAL_S):
            self._write()
        self._write()

    def _write(self) -> None:
        lines = [self._line(*self._waiting.popleft()) for _ in range(len(self._waiting))]
        if not lines:
            return
        if self._left_out:
            left_out, self._left_out = self._left_out, 0
            lines.append(self._line(time(), "lines_left_out", {"left_out": left_out}))
        text = memoryview(_encode_lines(lines))
        try:
            while text:
                text = text[os.write(self._descriptor, text) :]
        except OSError:  # whoever read them is gone
            self._open = False

    def _line(self, at: float, event: str, ids: dict[str, Any]) -> dict[str, Any]:
        second = int(at)
        if second != self._second:
            self._second = second
            self._second_text = datetime.fromtimestamp(second, UTC).isoformat()[:19]
        return {
            "at": f"{self._second_text}.{int((at - second) * 1000):03d}+00:00",
            "level": "info",
            "process": self._kind,
            "pid": self._pid,
            "event": event,
            **ids,
        }


trail = Trail()
atexit.register(trail.close)

"""A liveness probe: `python -m runtime.probe` exits with 0 as soon as the process of WBS_BEAT_FILE beats, else with 1.

It waits for a beat instead of reading the age of the last one, so that setting the clock makes no process look dead.
"""

import os
import sys
import time
from pathlib import Path

from runtime import beat

WAIT_S_MAX = 4.0
_LOOK_S = 0.05


def beats(file: Path, wait_s: float = WAIT_S_MAX) -> bool:
    """Return whether a beat comes within `wait_s`."""
    deadline = time.monotonic() + wait_s
    before = _stamp(file)
    while time.monotonic() < deadline:
        time.sleep(_LOOK_S)
        if _stamp(file) != before:
            return True
    return False


def _stamp(file: Path) -> int | None:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return None


def main() -> int:
    """Return the exit code; write the reason of a failure to standard error."""
    named = os.environ.get(beat.VARIABLE)
    if not named:
        print(f"{beat.VARIABLE} is not set: nothing here beats", file=sys.stderr)  # noqa: T201  # a program by itself
        return 1
    if not beats(Path(named)):
        print(f"no beat within {WAIT_S_MAX:g} s", file=sys.stderr)  # noqa: T201  # a program by itself
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

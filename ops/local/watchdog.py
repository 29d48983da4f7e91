"""`python -m ops.local.watchdog STATE_DIR NAME`: kills what does not beat; supervisord then starts it again.

supervisord notices a process that has ended, and not one that is frozen. Two watchdogs run in each stack and watch
over each other too, so that a frozen watchdog is noticed. Each judges by its own monotonic clock; a machine that was
suspended is forgiven (`runtime.beat.BeatWatch`).
"""

import json
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from ops import processes
from ops.local.log_heads import LogHeads
from ops.state import StateDir, read_json
from runtime import beat


class Watched:
    """One program of the stack, over all the processes that it is in the course of time."""

    def __init__(self, state: StateDir, name: str, file: Path) -> None:
        self._state = state
        self._name = name
        self._file = file
        self._identity: processes.Identity | None = None
        self._watch: beat.BeatWatch | None = None

    def look(self) -> None:
        """Kill the process if it is silent. It is told apart from a later one with its pid."""
        identity = processes.recorded(self._state, self._name)
        if identity is None:
            self._identity = self._watch = None
            return
        if identity != self._identity or self._watch is None:
            self._identity, self._watch = identity, beat.BeatWatch(self._file)
        if self._watch.is_silent():
            _say("killed_without_a_beat", program=self._name, killed_pid=identity.pid)
            processes.send(identity, signal.SIGKILL)
            self._identity = self._watch = None


def watched(state: StateDir) -> list[Watched]:
    """Return all programs of the stack that have a beat."""
    programs = read_json(state.programs_file)
    files = {name: program["environment"].get(beat.VARIABLE) for name, program in programs.items()}
    return [Watched(state, name, Path(file)) for name, file in sorted(files.items()) if file]


def main() -> NoReturn:
    """Watch until killed: there is nothing to finish. Keep the heads of logs by the way."""
    state = StateDir(Path(sys.argv[1]))
    own_file = Path(read_json(state.programs_file)[sys.argv[2]]["environment"][beat.VARIABLE])
    programs, read_at = watched(state), _written_at(state)
    heads = LogHeads(state.log)
    while True:
        beat.touch(own_file)
        if _written_at(state) != read_at:  # `wbs scale` has added one
            programs, read_at = watched(state), _written_at(state)
        for program in programs:
            program.look()
        heads.look()
        time.sleep(beat.LOOK_S)


def _written_at(state: StateDir) -> int:
    return state.programs_file.stat().st_mtime_ns


def _say(event: str, **ids: object) -> None:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    print(json.dumps({"at": at, "level": "error", "process": "watchdog", "event": event, **ids}), flush=True)


if __name__ == "__main__":
    main()

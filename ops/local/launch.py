"""`python -m ops.local.launch STATE_DIR NAME`: become one program of a stack. Called at every start and restart.

It spaces restarts, clears what a killed predecessor left, drops root where the program needs that, ties the
program to supervisord's life, writes down who it is, and then *becomes* the program: the supervised pid is
the real one.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from ops import processes
from ops.state import StateDir, read_json, write_json
from runtime.parent import die_with_parent

# supervisord starts a program again at once, for ever (startsecs=0); its own backoff would grow without end
# under repeated kills. So starts are spaced here: at most one per second.
START_INTERVAL_S = 1.0
EPMD_WAIT_S = 5.0


def main() -> NoReturn:
    """Become the program that `programs.json` describes."""
    state = StateDir(Path(sys.argv[1]))
    name = sys.argv[2]
    parent_pid = os.getppid()
    program: dict[str, Any] = read_json(state.programs_file)[name]
    space_starts(state, name)
    if program.get("container"):
        subprocess.run(
            [program["argv"][0], "rm", "-f", program["container"]], capture_output=True, check=False
        )
    if program.get("epmd_port"):
        wait_for_port(program["epmd_port"])
    processes.record(state, name, os.getpid())  # before root is dropped: the folder is ours
    os.chdir(program["cwd"])
    if program.get("uid") is not None:
        os.setgroups([])
        os.setgid(program["gid"])
        os.setuid(program["uid"])
    if program["kind"] == "postgres":
        clear_postgres(Path(program["cwd"]))
    os.nice(program["nice"])
    die_with_parent(program["stop_signal"], parent_pid)
    os.execve(program["argv"][0], program["argv"], program["environment"])


def space_starts(state: StateDir, name: str) -> None:
    """Wait until a second has passed since the last start, and count the starts."""
    stamp = state.run / f"{name}.starts.json"
    known = read_json(stamp)
    since_s = time.time() - float(known.get("at", 0.0))
    if 0.0 <= since_s < START_INTERVAL_S:
        time.sleep(START_INTERVAL_S - since_s)
    write_json(stamp, {"at": time.time(), "count": int(known.get("count", 0)) + 1})


def wait_for_port(port: int) -> None:
    """Wait at most EPMD_WAIT_S until a server listens there (RabbitMQ's node wants its epmd)."""
    from ops.local.ports import accepts

    deadline = time.monotonic() + EPMD_WAIT_S
    while not accepts(port) and time.monotonic() < deadline:
        time.sleep(0.05)


def clear_postgres(data: Path) -> None:
    """Make way after a kill -9: backends outlive their postmaster for a moment and hold its shared memory.

    Runs as the server's user, who alone may look at its processes' folders.
    """
    # Nothing that was committed is lost with them: the log is on disk, and is replayed at the start.
    processes.end_orphans(data, "postgres")
    # No server works in this folder now, so a pid in the lock file is stale, or another program's by now.
    (data / "postmaster.pid").unlink(missing_ok=True)


if __name__ == "__main__":
    main()

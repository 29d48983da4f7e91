"""Which processes a fault strikes."""

from contextlib import suppress
from pathlib import Path

import psutil

from ops import processes
from ops.processes import Identity
from ops.state import StateDir, read_json
from runtime import beat


def has_beaten(state: StateDir, victim: Identity) -> bool:
    """Return whether a process of the stack has beaten since it started."""
    for name, program in read_json(state.programs_file).items():
        if processes.recorded(state, name) == victim:
            with suppress(OSError, psutil.Error):
                beaten_at = Path(program["environment"][beat.VARIABLE]).stat().st_mtime
                return beaten_at > psutil.Process(victim.pid).create_time()
    return False


def children_of(pid: int) -> list[Identity]:
    """Return the processes below this one."""
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []
    return [one for child in children if (one := processes.identify(child.pid)) is not None]


def backends_of(postmaster: int) -> list[Identity]:
    """Return the processes of PostgreSQL that serve a client: their titles name user and database."""
    return [one for one in children_of(postmaster) if b"127.0.0.1" in _title(one.pid)]


def _title(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read(512)
    except OSError:
        return b""

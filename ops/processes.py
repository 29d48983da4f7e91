"""Identities of processes: one is ours only if pid *and* start time are the recorded ones."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ops.state import StateDir, read_json, write_json

ORPHANS_LEAVE_S = 2.0
SUPERVISOR = "supervisord"
"""The name under which a stack's supervisor is recorded: the stack runs while it does."""


@dataclass(frozen=True)
class Identity:
    """One process, told apart from a later one with the same pid."""

    pid: int
    start_ticks: int  # field 22 of /proc/<pid>/stat: clock ticks from boot to the start
    boot_id: str

    def alive(self) -> bool:
        """Return whether this very process runs (a zombie does not)."""
        return identify(self.pid) == self


def boot_id() -> str:
    """Return what identifies this boot of the machine: start ticks mean nothing after another one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def identify(pid: int) -> Identity | None:
    """Return the identity of a running process; None if there is none (or only a zombie)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command name stands in parentheses and may contain anything, blanks and parentheses too.
    fields = text.rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        return None
    return Identity(pid, int(fields[19]), boot_id())


def record(state: StateDir, name: str, pid: int) -> None:
    """Write down that `pid` is the program `name` of this stack."""
    identity = identify(pid)
    if identity is not None:
        write_json(
            state.run / f"{name}.pid.json",
            {"pid": pid, "start_ticks": identity.start_ticks, "boot_id": identity.boot_id},
        )


def recorded(state: StateDir, name: str) -> Identity | None:
    """Return the recorded process of that name, if it still runs."""
    document = read_json(state.run / f"{name}.pid.json")
    if not document:
        return None
    identity = Identity(int(document["pid"]), int(document["start_ticks"]), str(document["boot_id"]))
    return identity if identity.alive() else None


def recorded_names(state: StateDir) -> list[str]:
    """Return the names of all programs ever recorded in this folder."""
    return sorted(path.name.removesuffix(".pid.json") for path in state.run.glob("*.pid.json"))


def working_in(folder: Path, command: str) -> list[Identity]:
    """Return the processes named `command` that work in `folder`: PostgreSQL's, orphans too, sit in their data."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if Path(os.readlink(entry / "cwd")) != folder.resolve():
                continue
            if (entry / "comm").read_text(encoding="utf-8", errors="replace").strip() != command:
                continue
            identity = identify(int(entry.name))
            if identity is not None:
                found.append(identity)
    return found


def end_orphans(folder: Path, command: str) -> bool:
    """End what `working_in` finds after its parent was killed; return False if there was nothing.

    Such a process leaves by itself in a moment, unless it is frozen.
    """
    orphans = working_in(folder, command)
    if orphans and not wait_gone(orphans, ORPHANS_LEAVE_S):
        end(orphans, stop_signal=signal.SIGKILL)
    return bool(orphans)


def send(identity: Identity, number: int) -> None:
    """Send a signal if it is still that very process."""
    if identity.alive():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(identity.pid, number)


def end(
    identities: Iterable[Identity], *, stop_signal: int = signal.SIGTERM, timeout_s: float = 10.0
) -> None:
    """End processes: by `stop_signal`, then after `timeout_s` by SIGKILL."""
    remaining = [identity for identity in identities if identity.alive()]
    for identity in remaining:
        send(identity, signal.SIGCONT)  # one that is frozen could not hear us
        send(identity, stop_signal)
    if not wait_gone(remaining, timeout_s):
        for identity in remaining:
            send(identity, signal.SIGKILL)
        wait_gone(remaining, 5.0)


def wait_gone(identities: Iterable[Identity], timeout_s: float) -> bool:
    """Wait until none of them runs; False if some still do after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    remaining = list(identities)
    while remaining and time.monotonic() < deadline:
        remaining = [identity for identity in remaining if identity.alive()]
        if remaining:
            time.sleep(0.05)
    return not remaining

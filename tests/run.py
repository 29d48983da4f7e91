"""`python -m tests.run [--on-disk] ARGUMENTS…`: run pytest, and leave nothing running, however it ends.

Tests start servers, supervisors and browsers. Some are in sessions of their own, which Ctrl-C does not reach, and
pytest that is killed tears nothing down. So this process adopts whatever loses its parent below it, and ends it.
"""

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from runtime.parent import die_with_parent
from tests.scratch import scratch_folder

TOLD_TO_END = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOOK_S = 0.5
POLL_S = 0.05
TEAR_DOWN_S_MAX = 10.0
"""Time for pytest to end after a signal; a second signal shortens it."""
LEAVE_S_MAX = 5.0
"""Time for its leftover processes to end by themselves, and then again after SIGTERM."""
_PR_SET_CHILD_SUBREAPER = 36
_SI_KERNEL = 0x80
"""A signal from the terminal, which pytest has got too."""


def main(arguments: list[str]) -> int:
    """Return pytest's exit code, or 128 + N if signal N ended it."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number in TOLD_TO_END:
        signal.signal(number, signal.SIG_DFL)  # a shell's background job would ignore SIGINT
    awaited = {signal.SIGCHLD, *TOLD_TO_END}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    caller = Caller()
    pytest = _start([sys.executable, "-m", "pytest", *arguments])
    code, end_by = None, float("inf")
    while code is None and time.monotonic() < end_by:
        received = signal.sigtimedwait(awaited, LOOK_S)
        code = _reap(pytest)
        told = received is not None and received.si_signo in TOLD_TO_END
        if code is None and (told or (end_by == float("inf") and caller.wants_an_end())):
            if received is None or received.si_code != _SI_KERNEL:
                os.kill(pytest, signal.SIGINT)
            end_by = time.monotonic() + (TEAR_DOWN_S_MAX if end_by == float("inf") else 0.0)
    interrupted = end_by != float("inf")
    left = [] if interrupted else _wait_gone()
    if left:
        print(f"tests left running: {', '.join(left)}", file=sys.stderr)
    _end_all()
    if code is None:
        return 128 + signal.SIGINT
    return code if code >= 0 else 128 - code


class Caller:
    """The process that started us. GNU make waits for us when it is told to end, and passes on SIGTERM only."""

    def __init__(self) -> None:
        self._pid = os.getppid()
        self._caught = self._catches()

    def wants_an_end(self) -> bool:
        """Return whether it has ended, or got a signal that it catches only once."""
        return os.getppid() != self._pid or bool(self._caught & ~self._catches())

    def _catches(self) -> int:
        with suppress(OSError):
            for line in Path(f"/proc/{self._pid}/status").read_text(encoding="ascii").splitlines():
                if line.startswith("SigCgt:"):
                    return int(line.split()[1], 16) & sum(1 << (number - 1) for number in TOLD_TO_END)
        return 0


def _start(command: list[str]) -> int:
    own_pid = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            die_with_parent(signal.SIGINT, own_pid)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.execv(command[0], command)
        finally:
            os._exit(127)
    return child


def _reap(child: int) -> int | None:
    """Take note of all that have ended; return the child's exit code (-N: by signal N) if it is among them."""
    code = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                code = os.waitstatus_to_exitcode(ended[1])
    return code


def _left() -> list[psutil.Process]:
    _reap(0)
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _wait_gone() -> list[str]:
    """Wait until no process is left; return the names of those left after LEAVE_S_MAX."""
    deadline = time.monotonic() + LEAVE_S_MAX
    while (left := _left()) and time.monotonic() < deadline:
        signal.sigtimedwait({signal.SIGCHLD}, POLL_S)
    names = []
    for process in left:
        with suppress(psutil.Error):
            names.append(f"{process.name()} ({process.pid})")
    return names


def _end_all() -> None:
    """End all that descend from us: politely first, then with SIGKILL until nothing is left."""
    for process in _left():
        for number in (signal.SIGCONT, signal.SIGTERM):
            with suppress(psutil.Error):
                process.send_signal(number)
    _wait_gone()
    while left := _left():
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        signal.sigtimedwait({signal.SIGCHLD}, POLL_S)


if __name__ == "__main__":
    on_disk = sys.argv[1:2] == ["--on-disk"]
    with scratch_folder(on_disk=on_disk):
        exit_code = main(sys.argv[2 if on_disk else 1 :])
    sys.exit(exit_code)

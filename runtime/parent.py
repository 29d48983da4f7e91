"""The first process of a container: `python -m runtime.parent COMMAND …` runs the command and watches over it.

Docker restarts a container that has ended, but not one that is unhealthy. So this process kills a command that does
not beat for 10 s (`runtime.beat`), and exits with a code other than 0. As process 1 must, it passes signals on and
reaps orphans.
"""

import ctypes
import json
import os
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from runtime import beat

FROZEN_EXIT_CODE = 1
_PASSED_ON = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> int:
    """Run the command; return its exit code, 128 + N if signal N ended it, or 1 if it was killed for its silence."""
    if not argv:
        print("usage: python -m runtime.parent COMMAND …", file=sys.stderr)  # noqa: T201  # a program by itself
        return 2
    file = Path(os.environ.get(beat.VARIABLE) or tempfile.mkdtemp(prefix="wbs-beat-") + "/beat")
    os.environ[beat.VARIABLE] = str(file)
    awaited = {signal.SIGCHLD, *_PASSED_ON}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)  # each is taken below, in order; none is lost
    watch = beat.BeatWatch(file)
    child = _start(argv, awaited)
    told_to_stop = False
    while True:
        received = signal.sigtimedwait(awaited, beat.LOOK_S)
        if received is not None and received.si_signo in _PASSED_ON:
            told_to_stop = told_to_stop or received.si_signo in (
                signal.SIGTERM,
                signal.SIGINT,
                signal.SIGQUIT,
            )
            os.kill(child, received.si_signo)
        ended = _reap(child)
        if ended is not None:
            return ended if ended >= 0 else 128 - ended
        if (
            watch.is_silent() and not told_to_stop
        ):  # a stopping command may fall silent; the supervisor that stops us has a limit of its own
            _say("killed_without_a_beat", child_pid=child, command=argv)
            os.kill(child, signal.SIGKILL)
            return FROZEN_EXIT_CODE


def _start(argv: list[str], blocked: set[signal.Signals]) -> int:
    own_pid = os.getpid()
    child = os.fork()
    if child == 0:
        _become(argv, blocked, own_pid)
    return child


def _become(argv: list[str], blocked: set[signal.Signals], parent_pid: int) -> NoReturn:
    try:
        die_with_parent(signal.SIGTERM, parent_pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        os.execvp(argv[0], argv)
    except OSError as error:
        _say("can_not_start", command=argv, error=str(error))
    os._exit(127)


def _reap(child: int) -> int | None:
    """Reap all ended processes; return the child's exit code (-N: by signal N) if it is among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            code = os.waitstatus_to_exitcode(status)


def die_with_parent(stop_signal: int, parent_pid: int) -> None:
    """Ask the kernel to stop this process when its parent dies, even by kill -9, so that nothing runs on alone."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, stop_signal, 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit("the parent has ended meanwhile")


def _say(event: str, **ids: object) -> None:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = {"at": at, "level": "error", "process": "parent", "pid": os.getpid(), "event": event, **ids}
    print(json.dumps(line), file=sys.stderr, flush=True)  # noqa: T201  # a program by itself


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

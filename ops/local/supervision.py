"""supervisord: keeps every program of a stack running, and stops them in order.

What we rely on in supervisor 4.3 (its process.py): with `startsecs=0` a program that dies is EXITED, not
BACKOFF, and `autorestart=true` starts it again at the next turn of the loop (at most 1 s later), with no
counter that grows and no FATAL. Groups are stopped one after the other, highest priority first.
"""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import xmlrpc.client
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

import ops
from ops import processes
from ops.errors import OpsError
from ops.local.secret_settings import told
from ops.state import StateDir, private_opener, read_json
from runtime.parent import die_with_parent

NAME = processes.SUPERVISOR
CONTROL_TIMEOUT_S = 10.0
STOP_ALL_TIMEOUT_S = 150.0
OWNER_ONLY = 0o077
"""The umask of every process: no other user reads logs or data."""


@dataclass(frozen=True)
class Program:
    """One supervised process."""

    name: str
    kind: str  # as `wbs ps` shows it; empty for programs that it does not show
    group: str
    argv: list[str]
    environment: dict[str, str]
    cwd: Path
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: int = 30  # SIGKILL after that
    uid: int | None = None
    gid: int | None = None
    nice: int = 0  # the more, the less of a busy machine it gets
    extra: dict[str, Any] = field(default_factory=dict)  # for ops.local.launch: container, epmd_port

    @property
    def full_name(self) -> str:
        """The program as supervisord names it."""
        return f"{self.group}:{self.name}"

    def document(self) -> dict[str, Any]:
        """Return what ops.local.launch needs to know."""
        return {
            "kind": self.kind,
            "group": self.group,
            "stop_timeout_s": self.stop_timeout_s,
            "argv": self.argv,
            "environment": self.environment,
            "cwd": str(self.cwd),
            "stop_signal": int(self.stop_signal),
            "uid": self.uid,
            "gid": self.gid,
            "nice": self.nice,
            **self.extra,
        }

    @classmethod
    def of(cls, name: str, document: Mapping[str, Any]) -> "Program":
        """Return the program that `programs.json` describes so."""
        values = dict(document)
        cwd, stop_signal = Path(values.pop("cwd")), signal.Signals(values.pop("stop_signal"))
        extra = {key: values.pop(key) for key in list(values) if key not in cls.__dataclass_fields__}
        return cls(name=name, cwd=cwd, stop_signal=stop_signal, extra=extra, **values)


def described(state: StateDir) -> list[Program]:
    """Return the programs of a stack that was started, as `programs.json` has them."""
    return [Program.of(name, document) for name, document in read_json(state.programs_file).items()]


def start(state: StateDir, configuration: Path, *, bound: bool) -> subprocess.Popen[bytes]:
    """Start supervisord. `bound`: it stops the stack when the calling process dies, however that happens."""
    for stamp in state.run.glob("*.starts.json"):
        stamp.unlink()
    state.make_socket_folder()
    state.control_socket.unlink(missing_ok=True)
    # The kernel ties the signal to the thread that starts the child, so only a thread that lasts may ask for it.
    tie = bound and threading.current_thread() is threading.main_thread()
    own_pid = os.getpid()
    with open(state.log / "supervisord.out", "wb", opener=private_opener) as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "supervisor.supervisord", "-n", "-c", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=state.root,
            env={**told(NAME, os.environ), "PYTHONPATH": os.pathsep.join(import_path())},
            umask=OWNER_ONLY,
            start_new_session=True,  # Ctrl-C at the terminal is for `wbs up`, which then stops us in order
            preexec_fn=(lambda: die_with_parent(signal.SIGTERM, own_pid)) if tie else None,
        )
    processes.record(state, NAME, process.pid)
    deadline = time.monotonic() + CONTROL_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            words = (state.log / "supervisord.out").read_text(errors="replace").strip().splitlines()
            raise OpsError(f"supervisord did not start: {words[0][:500] if words else 'it said nothing'}")
        with (
            contextlib.suppress(OSError, xmlrpc.client.Error, http.client.HTTPException),
            control(state) as rpc,
        ):
            rpc.getState()
            return process
        time.sleep(0.05)
    raise OpsError(
        f"supervisord does not answer after {CONTROL_TIMEOUT_S:.0f} s: see {state.log / 'supervisord.log'}"
    )


def import_path() -> list[str]:
    """Return where Python finds this package, whatever the working folder is."""
    inherited = os.environ.get("PYTHONPATH", "")
    return [str(Path(ops.__file__).resolve().parent.parent), *([inherited] if inherited else [])]


@contextlib.contextmanager
def control(state: StateDir) -> Iterator[Any]:
    """Open supervisord's XML-RPC interface. Raises OSError if it is not there."""
    transport = SupervisorTransport(None, None, f"unix://{state.control_socket}")
    transport._get_connection = lambda: _BoundedConnection(str(state.control_socket))
    proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
    try:
        yield proxy.supervisor
    finally:
        transport.close()


class _BoundedConnection(http.client.HTTPConnection):
    """HTTP over a unix socket, with a limit on every wait (supervisor's own has none)."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        """Open the socket. http.client calls it before the first request."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CONTROL_TIMEOUT_S)
        self.sock.connect(self._path)


def start_program(state: StateDir, full_name: str) -> None:
    """Start one program; nothing happens if it runs."""
    with control(state) as rpc, contextlib.suppress(xmlrpc.client.Fault):
        rpc.startProcess(full_name, False)


def stop_program(state: StateDir, full_name: str, timeout_s: float) -> None:
    """Stop one program and keep it stopped, until it is started by hand. Raises OpsError if it does not end."""
    with control(state) as rpc:
        with contextlib.suppress(xmlrpc.client.Fault):
            rpc.stopProcess(full_name, False)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not rpc.getProcessInfo(full_name)["pid"]:
                return
            time.sleep(0.05)
    raise OpsError(f"{full_name} did not stop within {timeout_s:.0f} s")


def running(state: StateDir) -> list[tuple[str, int]]:
    """Return (program name, pid) of what runs now, without a program that is just being started again."""
    try:
        with control(state) as rpc:
            infos = rpc.getAllProcessInfo()
    except (OSError, xmlrpc.client.Error, http.client.HTTPException):
        return []
    found = []
    for info in infos:
        identity = processes.recorded(state, info["name"])
        # Recorded just before it becomes the real program; before that the pid is only ops.local.launch's.
        if identity is not None and identity.pid == info["pid"]:
            found.append((str(info["name"]), int(info["pid"])))
    return found


def add_group(state: StateDir, group: str) -> None:
    """Take up a group that the configuration has and supervisord does not know yet; nothing of it is started."""
    with control(state) as rpc:
        rpc.reloadConfig()  # reads only: what runs stays as it is
        rpc.addProcessGroup(group)


def stopped(state: StateDir) -> set[str]:
    """Return the names of the programs that are meant to be stopped. Raises OSError if supervisord is not there."""
    with control(state) as rpc:
        return {str(info["name"]) for info in rpc.getAllProcessInfo() if info["statename"] == "STOPPED"}


def starts(state: StateDir, name: str) -> int:
    """Return how often a program was started since supervisord began."""
    return int(read_json(state.run / f"{name}.starts.json").get("count", 0))

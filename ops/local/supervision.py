"""supervisord: keeps every program of a stack running, and stops them in order.

What we rely on in supervisor 4.3 (its process.py): with `startsecs=0` a program that dies is EXITED, not
BACKOFF, and `autorestart=true` starts it again at the next turn of the loop (at most 1 s later), with no
counter that grows and no FATAL. Groups are stopped one after the other, highest priority first.
"""

import contextlib
import http.client
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import xmlrpc.client
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

import ops
from ops import processes
from ops.errors import OpsError
from ops.local import launch
from ops.local.secret_settings import told
from ops.state import StateDir, private_opener, read_json, write_json, write_private
from runtime.open_files import allowed_open_files
from runtime.parent import die_with_parent

NAME = processes.SUPERVISOR
LOG_BYTES_MAX = 20_000_000
FILES_MAX = 8192
"""Open files that the servers may have (our own processes raise it further); supervisord tries to close so many at
each start of a program."""
CONTROL_TIMEOUT_S = 10.0
STOP_ALL_TIMEOUT_S = 150.0
OWNER_ONLY = 0o077
"""The umask of every process: no other user reads logs or data."""

# Stop order: the highest first. Programs of one group stop together.
# The watchdogs first: a process that ends may be silent.
PRIORITIES = {"watchdog": 990, "gateway": 900, "background": 800, "bank": 700, "servers": 300, "epmd": 200}


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
    extra: dict[str, Any] = field(default_factory=dict)  # for ops.local.launch: container, epmd_port

    @property
    def full_name(self) -> str:
        """The program as supervisord names it."""
        return f"{self.group}:{self.name}"

    def document(self) -> dict[str, Any]:
        """Return what ops.local.launch needs to know."""
        return {
            "kind": self.kind,
            "argv": self.argv,
            "environment": self.environment,
            "cwd": str(self.cwd),
            "stop_signal": int(self.stop_signal),
            "uid": self.uid,
            "gid": self.gid,
            **self.extra,
        }


def write_configuration(state: StateDir, programs: list[Program]) -> Path:
    """Write `supervisord.conf` and `programs.json`; secrets are in the latter only (mode 600)."""
    write_json(state.programs_file, {program.name: program.document() for program in programs})
    lines = [
        "; Written by `wbs up` at every start; see ops/local/supervision.py.",
        "[supervisord]",
        "nodaemon=true",
        "silent=true",
        # Paths are relative to the state folder, supervisord's own: it expands a % in some of them twice.
        "logfile=log/supervisord.log",
        "logfile_maxbytes=5MB",
        "logfile_backups=1",
        "pidfile=run/supervisord.pid",
        f"umask={OWNER_ONLY:03o}",
        f"minfds={allowed_open_files(FILES_MAX)}",
        *(["user=root"] if os.geteuid() == 0 else []),
        "[unix_http_server]",
        f"file={escape(state.control_socket)}",
        "chmod=0700",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
    ]
    for group, priority in PRIORITIES.items():
        members = [program for program in programs if program.group == group]
        if members:
            names = ",".join(program.name for program in members)
            lines += [f"[group:{group}]", f"programs={names}", f"priority={priority}"]
    for program in programs:
        lines += program_section(program)
    path = state.root / "supervisord.conf"
    write_private(path, "\n".join(lines) + "\n")
    return path


def program_section(program: Program) -> list[str]:
    """Return one `[program:…]` section."""
    command = [sys.executable, "-P", "-m", launch.__name__, ".", program.name]
    return [
        f"[program:{program.name}]",
        f"command={escape(shlex.join(command))}",
        "autostart=false",
        "autorestart=true",
        "startsecs=0",
        f"stopsignal={program.stop_signal.name.removeprefix('SIG')}",
        f"stopwaitsecs={program.stop_timeout_s}",
        "killasgroup=true",
        "redirect_stderr=true",
        f"stdout_logfile=log/{program.name}.log",
        f"stdout_logfile_maxbytes={LOG_BYTES_MAX}",
        "stdout_logfile_backups=1",
    ]


def escape(text: str | Path) -> str:
    """Return a value for supervisor's configuration, in which % begins an expansion."""
    return str(text).replace("%", "%%")


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


def starts(state: StateDir, name: str) -> int:
    """Return how often a program was started since supervisord began."""
    return int(read_json(state.run / f"{name}.starts.json").get("count", 0))

"""supervisord's configuration: which programs there are, in which order they stop, where their output goes."""

import os
import shlex
import sys
from pathlib import Path

from ops.local import launch
from ops.local.supervision import OWNER_ONLY, Program
from ops.state import StateDir, write_json, write_private
from runtime.open_files import allowed_open_files

LOG_BYTES_MAX = 20_000_000
TRAIL_BYTES_MAX = 100_000_000
"""At the highest rate two such files hold some minutes."""
FILES_MAX = 8192
"""Open files that the servers may have (our own processes raise it further); supervisord tries to close so many at
each start of a program."""

TRAIL_APART = frozenset({"gateway", "relay", "actors", "reconciler", "courier"})
"""Kinds whose standard output is the trail (`runtime.trail`), in a file of its own."""

# Stop order: the highest first. Programs of one group stop together.
# The watchdogs first: a process that ends may be silent.
PRIORITIES = {"watchdog": 990, "gateway": 900, "background": 800, "bank": 700, "servers": 300, "epmd": 200}


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
    for group in dict.fromkeys(program.group for program in programs):
        names = ",".join(program.name for program in programs if program.group == group)
        # A group of one that was added later, `gateway_3` in one of its own, stops with those that it joined.
        lines += [
            f"[group:{group}]",
            f"programs={names}",
            f"priority={PRIORITIES[group.partition('.')[0]]}",
        ]
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
        *_log_files(program),
    ]


def _log_files(program: Program) -> list[str]:
    """Return where a program's output goes. Files are turned over; `ops.local.log_heads` keeps beginnings."""
    files = {"stdout": f"log/{program.name}.log"}
    if program.kind in TRAIL_APART:
        files = {"stderr": f"log/{program.name}.log", "stdout": f"log/{program.name}.trail.log"}
    lines = [f"redirect_stderr={'false' if len(files) > 1 else 'true'}"]
    for stream, file in files.items():
        bytes_max = TRAIL_BYTES_MAX if file.endswith(".trail.log") else LOG_BYTES_MAX
        lines += [
            f"{stream}_logfile={file}",
            f"{stream}_logfile_maxbytes={bytes_max}",
            f"{stream}_logfile_backups=1",
        ]
    return lines


def escape(text: str | Path) -> str:
    """Return a value for supervisor's configuration, in which % begins an expansion."""
    return str(text).replace("%", "%%")

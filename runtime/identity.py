"""Who this process is: the name that others find in sessions, connections, leases and heartbeats."""

import os
import socket

_kind = "command"


def name_process(kind: str) -> None:
    """Say what kind of process this is: `gateway`, `relay`, `actors`, `reconciler`, or a command's name."""
    global _kind
    _kind = kind


def instance() -> str:
    """Return what tells this process from others of its kind: `host:pid`."""
    return f"{socket.gethostname()}:{os.getpid()}"


def process_name() -> str:
    """Return this process's name for servers to show: `wbs gateway host:pid`."""
    return f"wbs {_kind} {instance()}"

"""The identity of this process: the name that others see in sessions, connections, leases and heartbeats."""

import os
import socket

_kind = "command"


def name_process(kind: str) -> None:
    """Set the kind of this process: `gateway`, `relay`, `actors`, `reconciler`, or a command's name."""
    global _kind
    _kind = kind


def instance() -> str:
    """Return the name that distinguishes this process from others of its kind: `host:pid`."""
    return f"{socket.gethostname()}:{os.getpid()}"


def process_name() -> str:
    """Return the name that servers show for this process: `wbs gateway host:pid`."""
    return f"wbs {_kind} {instance()}"

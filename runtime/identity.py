"""The identity of this process: the name that others see in sessions, connections, leases and heartbeats."""

import os
import resource
import socket
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_kind = "command"
_STARTED_AT = datetime.now(UTC)
_PAGE_BYTES = resource.getpagesize()


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


@cache
def our_version() -> str:
    """Return the version of the installed package, or `?` in a tree that is not installed."""
    try:
        return version("wallet-balance-split")
    except PackageNotFoundError:
        return "?"


def process_facts() -> dict[str, Any]:
    """Return what this process is: version, start, memory in MB (its peak, where the system tells no more)."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        memory_mb = pages * _PAGE_BYTES / 2**20
    except (OSError, ValueError, IndexError):
        memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return {
        "version": our_version(),
        "started_at": _STARTED_AT.isoformat(timespec="seconds"),
        "memory_mb": round(memory_mb, 1),
    }

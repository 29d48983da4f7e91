"""The heartbeat of a background process: a row that says what it sees, every few seconds."""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

from db.heartbeats import beat
from db.pool import Reader
from wallet.errors import TryLater
from wallet.telemetry import log

INTERVAL_S = 3.0


def instance() -> str:
    """Return what tells this process from others of its kind."""
    return f"{socket.gethostname()}:{os.getpid()}"


async def beat_for_ever(reader: Reader, kind: str, detail: Callable[[], dict[str, Any]]) -> None:
    """Write a heartbeat every 3 s until cancelled. A database that is away is waited for."""
    while True:
        try:
            await beat(reader, kind, instance(), detail())
        except TryLater as error:
            log.debug("heartbeat_missed", kind=kind, error=str(error))
        await asyncio.sleep(INTERVAL_S)

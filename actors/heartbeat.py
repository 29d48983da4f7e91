"""The heartbeat of a background process: a row with its observations, written every few seconds."""

import asyncio
from collections.abc import Callable
from typing import Any

from db.connections import Reader
from db.heartbeats import beat
from runtime.identity import instance
from runtime.telemetry import log
from wallet.errors import TryLater

INTERVAL_S = 3.0
LOOK_S = 0.25
"""Time within which a change is reported (for example that RabbitMQ is back)."""


async def beat_for_ever(reader: Reader, kind: str, detail: Callable[[], dict[str, Any]]) -> None:
    """Write a heartbeat every 3 s, and at once when the detail changes, until cancelled.

    While the database is away, wait for it.
    """
    clock = asyncio.get_running_loop().time
    told: dict[str, Any] | None = None
    due = clock()
    while True:
        sees = detail()
        if sees != told or clock() >= due:
            try:
                await beat(reader, kind, instance(), sees)
                told, due = sees, clock() + INTERVAL_S
            except TryLater as error:
                log.debug("heartbeat_missed", kind=kind, error=str(error))
        await asyncio.sleep(LOOK_S)

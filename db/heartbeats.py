"""Heartbeats: the last report of each background process about itself and its peers, for /health."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from db.activity import note_activity
from db.connections import Reader
from db.sql import load
from db.strict import whole
from runtime.activity import ACTIVITY
from runtime.identity import instance, process_facts
from runtime.telemetry import log
from wallet.errors import TryLater

_SQL = load("reads")
INTERVAL_S = 3.0
LOOK_S = 0.25
"""Time within which a change is reported (for example that RabbitMQ is back)."""
_LAST_S = 1.0
"""Longest time that the last heartbeat may take: the process is about to end."""


class Heartbeat(NamedTuple):
    """The report of a process, made `age_s` seconds ago (by the database's clock)."""

    kind: str
    instance: str
    age_s: float
    detail: dict[str, Any]


async def beat(reader: Reader, kind: str, instance: str, detail: dict[str, Any]) -> None:
    """Report that this process is alive, with its observations. Raises Unavailable."""
    await reader.fetch(_SQL["beat"], kind, instance, json.dumps(detail))


async def heartbeats(reader: Reader) -> list[Heartbeat]:
    """Return the reports of all processes in the last ten minutes. Raises Unavailable."""
    rows = await reader.fetch(_SQL["heartbeats"])
    return [
        Heartbeat(r["kind"], r["instance"], r["age_s"], json.loads(r["detail"])) for r in map(whole, rows)
    ]


async def forget_old(reader: Reader) -> None:
    """Remove heartbeats older than ten minutes, of processes that are gone. Raises Unavailable."""
    await reader.fetch(_SQL["forget_heartbeats"])


async def beat_for_ever(reader: Reader, kind: str, detail: Callable[[], dict[str, Any]]) -> None:
    """Write a heartbeat every 3 s, and at once when the detail changes, until cancelled; write the activity with it.

    While the database is away, wait for it. The last heartbeat, when cancelled, has the member `stopped`. The member
    `process` says what the process is: version, start, memory, and `lag_ms`, the longest that its event loop was late
    since the heartbeat before.
    """
    clock = asyncio.get_running_loop().time
    told: dict[str, Any] | None = None
    due, lag_s = clock(), 0.0
    try:
        while True:
            sees = detail()
            is_due = sees != told or clock() >= due
            if is_due and await _beat(reader, kind, {**sees, "process": _process(lag_s)}):
                told, due, lag_s = sees, clock() + INTERVAL_S, 0.0
            slept_at = clock()
            await asyncio.sleep(LOOK_S)
            lag_s = max(lag_s, clock() - slept_at - LOOK_S)
    except asyncio.CancelledError:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_S):
                await _beat(reader, kind, {"stopped": True, "process": _process(lag_s)})
        raise


async def _beat(reader: Reader, kind: str, detail: dict[str, Any]) -> bool:
    """Write a heartbeat and the activity; return whether the database could take it."""
    done = ACTIVITY.take()
    try:
        await beat(reader, kind, instance(), detail)
        await note_activity(reader, instance(), done)
    except TryLater as error:
        ACTIVITY.put_back(done)
        log.debug("heartbeat_missed", kind=kind, error=str(error))
        return False
    return True


def _process(lag_s: float) -> dict[str, Any]:
    return {**process_facts(), "lag_ms": round(1000 * lag_s)}

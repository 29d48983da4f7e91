"""Heartbeats: the last report of each background process about itself and its peers, for /health."""

import json
from typing import Any, NamedTuple

from db.connections import Reader
from db.sql import load
from db.strict import whole

_SQL = load("reads")


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

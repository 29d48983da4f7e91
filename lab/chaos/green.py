"""After a storm the service must report, soon and by itself, that all is well."""

import asyncio
import json
import time
from collections.abc import Collection

from lab.chaos.aftermath import Aftermath
from lab.chaos.client import RecordingClient

GREEN_WITHIN_S = 10.0
"""Once every process answers again, GET /health says `ok` within this time."""
BACKLOG = frozenset({"withdrawals_late"})
"""A reason that may be true right after a storm: waiting money is still being paid out."""

_POLL_S = 0.3


async def expect_green(client: RecordingClient, aftermath: Aftermath, but: Collection[str] = ()) -> None:
    """Wait until the service reports that all is well, or only the given reasons; record trouble if it does not."""
    deadline = time.monotonic() + GREEN_WITHIN_S
    verdict = await _verdict(client)
    while not _is_green(verdict, but):
        if time.monotonic() > deadline:
            aftermath.trouble("not_green", f"/health ok within {GREEN_WITHIN_S:.0f} s", verdict)
            return
        await asyncio.sleep(_POLL_S)
        verdict = await _verdict(client)


async def _verdict(client: RecordingClient) -> str:
    call = await client.read("health", "/health", cell="")
    return call.answer or call.error


def _is_green(verdict: str, but: Collection[str]) -> bool:
    try:
        report = json.loads(verdict)
        reasons = {reason["code"] for reason in report.get("reasons", ())}
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    return report.get("status") in ("ok", "degraded") and reasons <= set(but)

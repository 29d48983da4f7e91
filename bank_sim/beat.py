"""The beat: touches a file every second (WBS_BEAT_FILE), for a supervisor that ends what is frozen."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

INTERVAL_S = 1.0


async def beat_for_ever() -> None:
    """Beat on the running event loop until cancelled, if somebody asks for it."""
    named = os.environ.get("WBS_BEAT_FILE")
    while True:
        if named:
            _touch(named)
        await asyncio.sleep(INTERVAL_S)


def _touch(file: str) -> None:
    try:
        os.utime(file)
    except FileNotFoundError:
        Path(file).touch()

"""The loss of a pair's primary, once, in the middle of a run; the standby takes over."""

import asyncio

from lab.chaos.history import Comeback, HistoryWriter, InjectedFault
from lab.chaos.lines import HOSTS, Lines
from lab.chaos.operations import Operations
from lab.chaos.pair import Failover, Pair

PROMOTED_AFTER_S = 3.0
"""Time that a watcher of the primary needs to be sure."""
WRITES_WITHIN_S = 5.0
"""Longest time from the promotion to the first successful write."""
GIVE_UP_S = 60.0
TRY_EVERY_S = 0.1


class Disaster:
    """Strikes once, and records the time until a write succeeded again."""

    def __init__(self, pair: Pair, lines: Lines, operations: Operations, history: HistoryWriter) -> None:
        self._pair = pair
        self._lines = lines
        self._operations = operations
        self._history = history

    async def strike(self, how: Failover, after_s: float) -> None:
        """Lose the primary `after_s` from now, promote the standby, and wait until a write works."""
        await asyncio.sleep(after_s)
        start = self._history.now()
        if how == "swallowed":
            await self._lines.cut(HOSTS[0], "blackhole")
        await asyncio.to_thread(self._pair.kill_primary)
        await asyncio.sleep(PROMOTED_AFTER_S)
        await asyncio.to_thread(self._pair.promote)
        promoted = self._history.now()
        number = 0
        while self._history.now() < promoted + GIVE_UP_S:
            number += 1
            if await self._operations.charge_once(f"after-the-promotion-{number}"):
                break
            await asyncio.sleep(TRY_EVERY_S)
        end = self._history.now()
        self._history.write(
            InjectedFault("failover", how, start, end, f"promoted after {promoted - start:.1f} s")
        )
        self._history.write(Comeback("writes after the promotion", promoted, end - promoted, WRITES_WITHIN_S))

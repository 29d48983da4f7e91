"""A lease: one of several processes leads, and its lead ends by itself if it does not renew the lease.

No clock is compared with another. The holder counts renewals in the lease's row. A challenger that has seen no renewal
for `LAPSES_S`, by its own monotonic clock, takes the lease by compare-and-set. The holder stops leading by itself, by
its own monotonic clock, when it has not renewed for `LEADS_S`, which is less: it starts counting before it sends the
renewal, the challenger after it has seen it. So a holder that was frozen or cut off does not lead at the same time as
its successor, except for the one step that was under way: steps must be idempotent.
"""

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from db.sql import load
from db.strict import at_most_one, rows_of
from runtime.identity import instance

LAPSES_S = 8.0
LEADS_S = 6.0
FOLLOWING_S = 4.0
"""Longest time that a successor takes to lead, beyond LAPSES_S."""
RENEW_S = 1.0
"""Shortest interval between two renewals."""

_SQL = load("leases")


class Lease:
    """This process's claim to one lease. Call `hold` before each step; it renews the lease when due."""

    def __init__(
        self,
        name: str,
        *,
        lapses_s: float = LAPSES_S,
        leads_s: float = LEADS_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a claim. `lapses_s` must be the same for all claimants of the lease, and above `leads_s`."""
        if leads_s >= lapses_s:
            raise AssertionError("a leader would lead for longer than its lease")
        self._name = name
        self._holder = f"{instance()}:{uuid4().hex[:8]}"
        self._lapses_s = lapses_s
        self._leads_s = leads_s
        self._clock = clock
        self._renewed_at: float | None = None
        self._seen: tuple[str, int] | None = None
        self._seen_at = 0.0
        self._led_at = clock()

    @property
    def is_held(self) -> bool:
        """True if this process leads now, as far as it can know without asking the database."""
        return self._renewed_at is not None and self._clock() - self._renewed_at < self._leads_s

    @property
    def unled_s(self) -> float:
        """Seconds for which, as far as this process can know, no process has led."""
        return self._clock() - self._led_at

    @property
    def is_unled(self) -> bool:
        """True if no process has led for longer than it takes to succeed a leader that is gone."""
        return self.unled_s > self._lapses_s + FOLLOWING_S

    async def hold(self, connection: Any) -> bool:
        """Renew the lease, or take it if it is free or has lapsed; return whether this process leads.

        Raises the connection's errors.
        """
        now = self._clock()
        if self._renewed_at is not None and now - self._renewed_at < RENEW_S:
            return True
        # Try to renew even after an error, which leaves open whether the lease was taken.
        if await self._written(connection, _SQL["renew"]) or await self._take(connection, now):
            self._renewed_at = self._led_at = now
        else:
            self._renewed_at = None
        return self.is_held

    async def give_up(self, connection: Any) -> None:
        """Let another process lead at once. Raises the connection's errors."""
        self._renewed_at = None
        rows_of(await connection.execute(_SQL["give_up"], self._name, self._holder), "DELETE")

    async def _take(self, connection: Any, now: float) -> bool:
        row = at_most_one(await connection.fetch(_SQL["look"], self._name))
        if row is None:
            return await self._written(connection, _SQL["take_free"])
        found = (row["holder"], row["renewals"])
        if found != self._seen:
            self._seen, self._seen_at = found, self._clock()
            self._led_at = self._seen_at
            return False
        if now - self._seen_at < self._lapses_s:
            return False
        return await self._written(connection, _SQL["take_over"], *found)

    async def _written(self, connection: Any, statement: str, *found: Any) -> bool:
        return bool(at_most_one(await connection.fetch(statement, self._name, self._holder, *found)))

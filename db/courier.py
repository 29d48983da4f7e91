"""The courier's access to the database: a session of its own, and the lease by which one courier numbers the events."""

import time
from datetime import timedelta
from uuid import UUID

from db import events, stack, webhook_turns
from db.events import Numbered
from db.leases import Lease
from db.led_session import LedSession
from db.sql import load
from db.strict import one
from runtime.slices import DatabaseSettings
from runtime.telemetry import log
from wallet.events import ALWAYS_MADE, types_of_kinds

_SQL = load("events")
_LOOK_S = 1.0
"""Seconds between two looks at what is below the batches that can still come."""
_GUARD_S = 10.0
"""Seconds between two checks that the database is still the same one."""
EVER = 2**62


class CourierSession(LedSession):
    """What the courier does, as a LedSession."""

    def __init__(self, database: DatabaseSettings, kinds: frozenset[str]) -> None:
        """Make a session. `kinds` are the kinds of events that this version makes."""
        super().__init__(database, Lease("courier"))
        self._kinds = kinds | {ALWAYS_MADE}
        self._types = types_of_kinds(kinds)
        self._guarded_at: float | None = None
        self._known_seq = 0
        self._known_epoch: UUID | None = None
        self._last_id = 0
        self._from_id = 0
        self._sample: tuple[int, int] | None = None
        self._looked_at = 0.0

    async def lead(self) -> bool:
        """Connect if needed, and return whether this process numbers the events now. Call it before each step."""
        leads = await super().lead()
        if not leads:
            self._guarded_at = None
            self._known_seq = 0  # another process numbers
        elif self._guarded_at is None or time.monotonic() - self._guarded_at >= _GUARD_S:
            await self._guard()
        return leads

    def _connected(self) -> None:
        self._guarded_at = self._sample = None
        self._from_id = 0

    async def number(self) -> Numbered:
        """Give numbers to batches that wait, a bounded number of them."""
        numbered = await events.number_batches(self._connection, self._types, self._from_id)
        self._known_seq = numbered.last_seq
        self._known_epoch = numbered.epoch if numbered.waits_for_standby else None
        self._last_id = max(self._last_id, numbered.last_id)
        if time.monotonic() - self._looked_at >= _LOOK_S:
            self._looked_at = time.monotonic()
            await self._pass_over_what_is_gone()
        return numbered

    async def waiting(self) -> tuple[int, float]:
        """Return the number of batches without a number, and the age of the oldest in seconds."""
        return await events.waiting(self._connection, self._from_id)

    async def forget(self, older_than: timedelta) -> int:
        """Remove some of the oldest events, but none that a webhook has yet to get; return the number of rows."""
        needed = await webhook_turns.needed_from(self._connection)
        return await events.forget(self._connection, older_than, EVER if needed is None else needed)

    async def ring(self) -> None:
        """Queue messages for the actors about webhooks that have something to do."""
        await webhook_turns.ring(self._connection)

    async def _guard(self) -> None:
        """Begin another epoch if the database may have lost history; write down which kinds of events are made."""
        here = await stack.server(self._connection)
        reason = await events.guard_epoch(self._connection, here, self._known_seq, self._known_epoch)
        if reason is not None:
            self._known_seq = 0
            log.error("events_begin_anew", reason=reason)
        if self._guarded_at is None:
            await events.make_kinds(self._connection, self._kinds)
        self._guarded_at = time.monotonic()

    async def _pass_over_what_is_gone(self) -> None:
        """Begin further up in the index, past identifiers that can no longer be committed.

        Numbered rows stay in it until they are vacuumed, and a long transaction can put that off. An identifier is
        drawn by a transaction that has a number already. So once all transactions that were under way at some moment
        have ended, every identifier drawn before it is decided. Nothing that could still come is passed over: it would
        be numbered after a later batch of the same wallet.
        """
        row = one(await self._connection.fetch(_SQL["oldest_open"]))
        if self._sample is not None and row["oldest"] >= self._sample[1]:
            self._from_id = self._sample[0] + 1
            self._sample = None
        if self._sample is None and self._last_id >= self._from_id:
            self._sample = (self._last_id, row["next"])

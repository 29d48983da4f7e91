"""The payout gate: each actor process watches whether payouts are paused.

While they are paused, the database refuses new attempts (`begin` in db/queries/withdrawals.sql). The gate stops
attempts that have already begun, and holds messages, which would otherwise be requeued again and again.
"""

import asyncio
from time import monotonic

from db import stack
from db.connections import Reader, understood
from runtime.telemetry import PAYOUTS_PAUSED, log
from wallet.errors import TryLater

LOOK_S = 0.5
FRESH_S = 2.0
"""An older reading says nothing: the gate stays closed until the next successful look."""


class PayoutGate:
    """Open while payouts are allowed. Belongs to one event loop."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._allowed = False
        self._seen_at = float("-inf")
        self._changed = asyncio.Event()
        self.stopping = False
        """True once the gate lets nobody through any more."""
        self.standing = "unknown"
        """The state of payouts, for people."""

    @property
    def open(self) -> bool:
        """True if the bank may be asked to pay now."""
        return self._allowed and self.is_seen

    @property
    def is_seen(self) -> bool:
        """True if it is known whether payouts are paused."""
        return monotonic() - self._seen_at <= FRESH_S

    async def watch(self) -> None:
        """Look twice per second, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Look once. If the database is away, the previous reading stays and ages."""
        asked_at = monotonic()
        try:
            state = await understood(stack.look, self._reader)
        except TryLater as error:
            log.debug("gate_not_seen", error=str(error))
            return
        if state.allowed != self._allowed or self.standing == "unknown":
            log.info("payouts_stand", standing=state.standing)
        self._allowed, self._seen_at, self.standing = state.allowed, asked_at, state.standing
        PAYOUTS_PAUSED.set(0 if state.allowed else 1)
        if state.allowed:
            self._changed.set()
            self._changed = asyncio.Event()

    def close(self) -> None:
        """Treat payouts as paused until a look shows that they are not."""
        self._allowed = False

    def stop(self) -> None:
        """End all waits, because the process is stopping."""
        self.stopping = True
        self._changed.set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait until the gate is open; return False if it stays closed or the process is stopping."""
        ends_at = monotonic() + timeout_s
        while not self.open:
            left_s = ends_at - monotonic()
            if self.stopping or left_s <= 0:
                return False
            try:
                async with asyncio.timeout(min(left_s, FRESH_S)):
                    await self._changed.wait()
            except TimeoutError:
                continue
        return not self.stopping

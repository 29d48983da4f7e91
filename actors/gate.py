"""Whether the bank may be asked to pay, as each actor process sees it: payouts can be paused.

The database refuses attempts while they are (`begin` in db/queries/withdrawals.sql). The gate is for what has begun
already, and for the messages: they wait here, instead of going round and round.
"""

import asyncio
from time import monotonic

from db import stack
from db.connections import Reader, understood
from runtime.telemetry import PAYOUTS_PAUSED, log
from wallet.errors import TryLater

LOOK_S = 0.5
FRESH_S = 2.0
"""What was seen longer ago says nothing: the gate is closed until it can be seen again."""


class PayoutGate:
    """Open while payouts are allowed. Belongs to one event loop."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._allowed = False
        self._seen_at = float("-inf")
        self._changed = asyncio.Event()
        self.stopping = False
        """Nobody is let through any more."""
        self.standing = "unknown"
        """How payouts stand, for people."""

    @property
    def open(self) -> bool:
        """True if an order may be sent to the bank now."""
        return self._allowed and self.is_seen

    @property
    def is_seen(self) -> bool:
        """True if it is known whether payouts are paused."""
        return monotonic() - self._seen_at <= FRESH_S

    async def watch(self) -> None:
        """Look twice a second, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Look once. A database that is away leaves what was seen before to grow old."""
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
        """Take payouts for paused until it is seen that they are not."""
        self._allowed = False

    def stop(self) -> None:
        """Let nobody wait any longer: the process is stopping."""
        self.stopping = True
        self._changed.set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait until the gate is open; False if it still is not, or the process is stopping."""
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

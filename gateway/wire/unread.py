"""Ends connections whose clients do not read their responses in time."""

import asyncio
from typing import Any

from gateway.wire.memory import FREE_BYTES, Hold
from runtime.telemetry import CONNECTIONS_CUT, start_at_zero

READ_S_MAX = 15.0
"""A response has to be read by its client so long after it was sent, however slowly that goes on."""
LOOK_S = 1.0

start_at_zero(CONNECTIONS_CUT, ("memory", "unread"))


class UnreadResponses:
    """Watches what the kernel has not taken of one connection's responses. Nothing runs while all is taken."""

    __slots__ = ("_due", "_hold", "_loop", "_mark", "_timer", "_transport", "_written")

    def __init__(self, transport: Any, hold: Hold, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._hold = hold
        self._loop = loop
        self._written = 0
        self._mark = 0  # bytes that have to be read until `_due`
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def wrote(self, size: int) -> None:
        """Note that so many bytes were handed to the transport."""
        self._written += size
        unread = self._transport.get_write_buffer_size()
        if not unread:
            return
        if unread > FREE_BYTES and not self._hold.grow(unread):
            self._cut("memory")
        elif self._timer is None:
            self._begin()
            self._timer = self._loop.call_later(LOOK_S, self._look)

    def stop(self) -> None:
        """Forget the connection, which has ended."""
        self._hold.shrink()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self) -> None:
        self._mark, self._due = self._written, self._loop.time() + READ_S_MAX

    def _look(self) -> None:
        self._timer = None
        unread = self._transport.get_write_buffer_size()
        self._hold.shrink(unread if unread > FREE_BYTES else 0)
        if not unread:
            return
        if self._written - unread >= self._mark:
            self._begin()  # all that was unread then has been read
        elif self._loop.time() >= self._due:
            self._cut("unread")
            return
        self._timer = self._loop.call_later(LOOK_S, self._look)

    def _cut(self, reason: str) -> None:
        CONNECTIONS_CUT.labels(reason).inc()
        self._transport.abort()

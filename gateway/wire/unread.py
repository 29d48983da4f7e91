"""Ends connections whose clients do not read their responses in time."""

import asyncio
import socket
import struct
from typing import Any

from gateway.wire.memory import FREE_BYTES, Hold
from runtime.telemetry import CONNECTIONS_CUT, start_at_zero

READ_S_MAX = 15.0
"""A response has to be read by its client so long after it was sent, however slowly that goes on."""
LOOK_S = 1.0
KERNEL_BYTES = 128 * 1024
"""Of what a client does not take, the kernel keeps about so much, and not its usual 4 MB. The rest is counted here."""
_KERNEL_S_MAX = READ_S_MAX + 5 * LOOK_S
"""Where there is anything to be counted here, the connection is cut before that, and the client is told."""
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: nothing that is still to be sent outlives the connection."""

start_at_zero(CONNECTIONS_CUT, ("memory", "unread"))


def bound_what_is_unread(listener: socket.socket) -> None:
    """Have the kernel keep little for the connections that it will accept here, and not for long.

    So connections end, too, whose responses are all with the kernel, which can't get rid of them.
    """
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, KERNEL_BYTES)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(_KERNEL_S_MAX * 1000))


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
        # Otherwise the kernel would go on offering the rest to the client, for minutes.
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

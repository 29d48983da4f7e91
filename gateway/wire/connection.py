"""A connection to a client: how long its requests may take to arrive, what it may hold in memory, how it ends.

A client that ends its side and waits gets its responses. It knows `HttpProtocol` of Sanic 25.12.
"""

import asyncio
from asyncio import CancelledError
from typing import Any

from sanic.http.constants import Stage
from sanic.server.protocols.http_protocol import HttpProtocol

from gateway.contract.problems import (
    PROBLEM_JSON,
    MalformedRequest,
    RequestTimeout,
    encode_problem,
    problem_of,
)
from gateway.wire.checked_http import CheckedHttp
from gateway.wire.connection_limits import LINGER_S, LINGERING_MAX, ConnectionLimits
from gateway.wire.memory import FREE_BYTES, Hold
from gateway.wire.unread import UnreadResponses
from wallet.errors import Overloaded

HEAD_S_MAX = 5.0
REQUEST_S_MAX = 15.0
"""A head has to be there so long after its first byte, and all of a request: dripping does not extend it."""

_TOO_MANY_BODY = encode_problem(problem_of(Overloaded("too many connections"), None))
_TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: %b\r\ncontent-length: %d\r\nretry-after: 1\r\n"
    b"cache-control: no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\r\n%b"
) % (PROBLEM_JSON.encode(), len(_TOO_MANY_BODY), _TOO_MANY_BODY)


class CheckedProtocol(HttpProtocol):
    """A connection to a client, whose requests all go Sanic's own way."""

    __slots__ = (
        "_address",
        "_hold",
        "_unread",
        "deadline",
        "dropped",
        "drops_input",
        "input_ended",
        "overfull",
    )
    HTTP_CLASS = CheckedHttp

    def _setup(self) -> None:
        super()._setup()  # type: ignore[no-untyped-call]
        self.input_ended = False
        """Whether the client has ended its side; it may still wait for responses."""
        self.deadline: float | None = (
            None  # for the request that is arriving, if it did not come in one piece
        )
        self.overfull = False
        """Whether input was lost for want of memory: no request can be read any more."""
        self.drops_input = False
        """Whether nobody will read what comes; it is counted in `dropped`."""
        self.dropped = 0
        self._address: str | None = None  # None: refused

    def connection_made(self, transport: Any) -> None:
        """Serve the connection, or refuse it: there are too many."""
        limits: ConnectionLimits = self.app.ctx.connection_limits
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if peer else ""
        if limits.admit(address):
            self._address = address
            self._hold = Hold(self.app.ctx.memory, address)
            self._unread = UnreadResponses(transport, Hold(self.app.ctx.memory, address), self.loop)
            super().connection_made(transport)  # type: ignore[no-untyped-call]
        elif limits.lingering >= LINGERING_MAX:
            transport.abort()
        else:
            limits.lingering += 1
            transport.write(_TOO_MANY)
            transport.write_eof()
            self.loop.call_later(LINGER_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room for another connection."""
        limits: ConnectionLimits = self.app.ctx.connection_limits
        if self._address is not None:
            limits.release(self._address)
            self._hold.shrink()
            self._unread.stop()
            super().connection_lost(exc)  # type: ignore[no-untyped-call]
        elif limits.lingering:
            limits.lingering -= 1

    def data_received(self, data: bytes) -> None:
        """Keep what has arrived, unless nobody will read it, or there is no room for it."""
        if self._address is None:
            return
        if self.drops_input or self.overfull:
            self.dropped += len(data)
            self._data_received.set()
            return
        size = len(self.recv_buffer) + len(data)
        if size > FREE_BYTES and not self._hold.grow(size):
            self.overfull = True
            if self.transport is not None:
                self.transport.pause_reading()
            self._data_received.set()
            return
        super().data_received(data)

    def wrote(self, size: int) -> None:
        """Note that a response was sent."""
        self._unread.wrote(size)
        self._settle()

    def require_room(self) -> None:
        """Raise Overloaded if input was lost."""
        if self.overfull and not self.drops_input:
            assert self._http is not None
            self._http.keep_alive = False
            raise Overloaded("too many long requests at once")

    def _is_overfull(self, is_idle: bool) -> bool:
        """Raise Overloaded if input of a request was lost. Return True if no request has begun: the next one fails."""
        if not is_idle:
            self.require_room()
        return self.overfull and not self.drops_input

    def _settle(self) -> None:
        """Hold no more than there is in the buffer."""
        if self._hold.size:
            size = len(self.recv_buffer)
            self._hold.shrink(size if size > FREE_BYTES else 0)

    def eof_received(self) -> bool:
        """Note that nothing more comes. Return True, which keeps our side open for the responses."""
        self.input_ended = True
        self._data_received.set()
        return self._address is not None

    async def receive_more(self) -> None:
        """Wait until more has arrived.

        Raises CancelledError if nothing will, MalformedRequest if that is within a request, RequestTimeout if a request
        has taken too long to arrive, however steadily it drips, and Overloaded if there is no room for it.
        """
        assert self._http is not None
        stage = self._http.stage
        # Idle is between two requests; after a response, the rest of a body may still belong to the first of them.
        is_idle = stage is Stage.IDLE and not self._http.request_body
        self._settle()
        if self._is_overfull(is_idle):
            return
        if not self.input_ended:
            size = len(self.recv_buffer)
            await self._receive_by_the_deadline(stage, is_idle)
            if self._is_overfull(is_idle):
                return
            if len(self.recv_buffer) > size or not self.input_ended:
                return
        if is_idle:
            raise CancelledError
        raise MalformedRequest("the request ended early")

    async def _receive_by_the_deadline(self, stage: Stage, is_idle: bool) -> None:
        if is_idle:
            self.deadline = None
            await super().receive_more()  # type: ignore[no-untyped-call]
            return
        now = self.loop.time()
        if self.deadline is None:
            self.deadline = now + REQUEST_S_MAX
        # A head that drips has less time than a body: nobody knows yet who sends it.
        until = (
            min(self.deadline, self.deadline - REQUEST_S_MAX + HEAD_S_MAX)
            if stage is Stage.REQUEST
            else self.deadline
        )
        try:
            async with asyncio.timeout_at(until):
                await super().receive_more()  # type: ignore[no-untyped-call]
        except TimeoutError:
            assert self._http is not None
            self._http.keep_alive = False
            raise RequestTimeout("the request did not arrive in time") from None

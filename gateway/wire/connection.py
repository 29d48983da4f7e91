"""A connection whose requests go Sanic's own way, once their heads are checked to the letter.

What Sanic does otherwise than RFC 9112 says, or leaves open, is done here: chunks and trailers, an empty line before a
request, a client that ends its side and waits, and the end of a connection on which bytes are still to come. It knows
`Http` of sanic.http.http1 and `HttpProtocol`, as of Sanic 25.12.
"""

import asyncio
import re
from asyncio import CancelledError
from typing import Any

from sanic.exceptions import PayloadTooLarge
from sanic.http.constants import Stage
from sanic.http.http1 import Http
from sanic.server.protocols.http_protocol import HttpProtocol

from gateway.contract.problems import (
    PROBLEM_JSON,
    HttpRefusal,
    MalformedRequest,
    RequestTimeout,
    encode_problem,
    problem_of,
)
from gateway.wire.admission import Admission
from gateway.wire.chunks import ChunkReader
from gateway.wire.connection_limits import LINGER_S, LINGERING_MAX, ConnectionLimits
from gateway.wire.head import check_head
from wallet.errors import Overloaded

DISCARD_BYTES_MAX = 16 * 1024 * 1024
"""What is left of a body that was refused is read and dropped up to here, so that its sender gets the response."""
LINGER_S_MAX = 2.0
"""So long it is read and dropped where the connection ends after the response: closed at once, it would be reset."""

HEAD_S_MAX = 5.0
REQUEST_S_MAX = 15.0
"""A head has to be there so long after its first byte, and all of a request: dripping does not extend it."""

_TOO_MANY_BODY = encode_problem(problem_of(Overloaded("too many connections"), None))
_TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: %b\r\ncontent-length: %d\r\nretry-after: 1\r\n"
    b"cache-control: no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\r\n%b"
) % (PROBLEM_JSON.encode(), len(_TOO_MANY_BODY), _TOO_MANY_BODY)

_EMPTY_LINES = re.compile(rb"(?:\r\n)+")
_IN_NO_HEAD = re.compile(rb"(?<!\r)\n|\0")
_CODING = re.compile(rb"\r\ntransfer-encoding:([^\r]*)", re.IGNORECASE)


class CheckedHttp(Http):
    """Reads requests as Sanic does, and refuses those that a proxy in front could have read otherwise."""

    __slots__ = ("_connection", "_input_left", "admission", "chunks", "cors_lines", "known_hosts")

    def __init__(self, protocol: Any) -> None:
        super().__init__(protocol)  # type: ignore[no-untyped-call]
        self._connection = protocol
        self.admission: Admission = protocol.app.ctx.admission
        self.known_hosts = self.admission.known_hosts
        self.cors_lines = b""
        """Part of the response's head that lets a page of another site read it."""
        self.chunks: ChunkReader | None = None
        """Reads the body, if it comes in chunks."""
        self._input_left = False  # whether more may come that nobody will read

    async def http1(self) -> None:
        """Serve requests until the connection has to end."""
        await super().http1()  # type: ignore[no-untyped-call]
        if self._input_left:
            await self._linger()

    async def http1_request_header(self) -> None:
        """Fill in `self.request`. Raises HttpRefusal and SanicException."""
        buffer: bytearray = self.recv_buffer
        self._connection.deadline = None  # each request has all of its time
        await self._skip_empty_lines()
        end = await self._find_end_of_head()
        self.chunks, self.cors_lines = None, b""
        self.chunks = ChunkReader() if check_head(bytes(buffer[:end])) else None
        if self.chunks and (coding := _CODING.search(buffer, 0, end)):
            buffer[slice(*coding.span(1))] = b" chunked"  # the one spelling that Sanic knows
        await super().http1_request_header()  # type: ignore[no-untyped-call]
        if self.chunks:
            del buffer[:2]  # Sanic leaves the end of the head there
        elif not self.request_bytes_left:
            self.request_body = None  # a length of 0 announces no body
        self.head_only = self.request.method == "HEAD"
        if self.request.version == "1.0":
            self.expecting_continue = False  # RFC 9110, 10.1.1
        self._check_connection()
        self.cors_lines = self.admission.cors_lines(self.request)
        sockname = self._connection.conn_info.sockname
        self.admission.check(self.request, sockname[0] if sockname else None)

    async def read(self) -> bytes | None:
        """Return some bytes of the body, None at its end. Raises HttpRefusal and SanicException.

        After the response, what is left of the body is read in the same way: if it does not arrive in time, or the
        client ends its side before, it counts as ended, and the connection ends with it.
        """
        if self.response is None or self.stage is not Stage.IDLE:
            return await self._read()
        try:
            return await self._read()
        except HttpRefusal:
            self.keep_alive = False
            self.request_body = None
            return None

    async def _read(self) -> bytes | None:
        if self.chunks is None:
            data: bytes | None = await super().read()
            return data
        if self.expecting_continue:
            self.expecting_continue = False
            await self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (part := self.chunks.take(self.recv_buffer)) and not self.chunks.ended:
            await self._receive_more()
        if self.chunks.ended:
            self.request_body = None
        return part or None

    def leave_body(self) -> None:
        """Prepare for a response before the body was read: what is left is dropped, or ends the connection.

        It ends where the client wants so, where the next request can't be told from what is left, and where that is
        much or may never come.
        """
        is_short = not self.chunks and (self.request_bytes_left or 0) <= DISCARD_BYTES_MAX
        if self.expecting_continue or not self.keep_alive or not is_short:
            self.expecting_continue = False
            self.keep_alive = False
            self.request_body = None
            self._input_left = True

    async def error_response(self, exception: Exception) -> None:
        """Respond to a request that never came to a handler."""
        if self.stage is not Stage.HANDLER:
            self._input_left = True
        await super().error_response(exception)

    def create_empty_request(self) -> None:
        """Make the request that stands for one that can't be read. Its target may be no URL either."""
        self.url = None
        super().create_empty_request()

    def _check_connection(self) -> None:
        """Decide by all its fields whether the connection goes on; an offer to upgrade it is not taken up."""
        self.upgrade_websocket = False
        headers = self.request.headers
        options = [value.strip().lower() for value in headers.getall("connection", ())]
        if any(option != "keep-alive" for option in options):
            self.keep_alive = False
        if self.request_body and "upgrade" in headers and any("upgrade" in option for option in options):
            # To some, all after the head is in the other protocol.
            raise MalformedRequest("a request with a body can't upgrade the connection")

    async def _skip_empty_lines(self) -> None:
        buffer: bytearray = self.recv_buffer
        while True:
            if empty := _EMPTY_LINES.match(buffer):
                del buffer[: empty.end()]
            if buffer and buffer != b"\r":
                return
            self.stage = Stage.IDLE  # nothing of a request has arrived
            await self._receive_more()
            self.stage = Stage.REQUEST

    async def _find_end_of_head(self) -> int:
        """Return where the empty line after the head begins, once it is there. Raises as soon as it can't come."""
        buffer: bytearray = self.recv_buffer
        start = 0
        while (end := buffer.find(b"\r\n\r\n", start)) < 0:
            if len(buffer) > self.HEADER_MAX_SIZE:
                break
            if _IN_NO_HEAD.search(buffer, start):
                raise MalformedRequest("the head has a NUL, or a line end without a carriage return")
            start = max(0, len(buffer) - 3)
            await self._receive_more()
        if not 0 <= end < self.HEADER_MAX_SIZE:
            raise PayloadTooLarge("Request header exceeds the size limit")
        return end

    async def _linger(self) -> None:
        """End our side, and drop what the client still sends, until it ends its own."""
        protocol = self._connection
        if protocol.input_ended or not protocol.transport or protocol.transport.is_closing():
            return
        protocol.transport.write_eof()
        self.stage = Stage.IDLE
        dropped = 0
        try:
            async with asyncio.timeout(LINGER_S_MAX):
                while dropped <= DISCARD_BYTES_MAX:
                    dropped += len(self.recv_buffer)
                    self.recv_buffer.clear()
                    await self._receive_more()
        except TimeoutError:
            pass


class CheckedProtocol(HttpProtocol):
    """A connection to a client, whose requests all go Sanic's own way."""

    __slots__ = ("_address", "deadline", "input_ended")
    HTTP_CLASS = CheckedHttp

    def _setup(self) -> None:
        super()._setup()  # type: ignore[no-untyped-call]
        self.input_ended = False
        """Whether the client has ended its side; it may still wait for responses."""
        self.deadline: float | None = (
            None  # for the request that is arriving, if it did not come in one piece
        )
        self._address: str | None = None  # None: refused

    def connection_made(self, transport: Any) -> None:
        """Serve the connection, or refuse it: there are too many."""
        limits: ConnectionLimits = self.app.ctx.connection_limits
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if peer else ""
        if limits.admit(address):
            self._address = address
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
            super().connection_lost(exc)  # type: ignore[no-untyped-call]
        elif limits.lingering:
            limits.lingering -= 1

    def data_received(self, data: bytes) -> None:
        """Keep what has arrived, unless the connection was refused."""
        if self._address is not None:
            super().data_received(data)

    def eof_received(self) -> bool:
        """Note that nothing more comes. Return True, which keeps our side open for the responses."""
        self.input_ended = True
        self._data_received.set()
        return self._address is not None

    async def receive_more(self) -> None:
        """Wait until more has arrived.

        Raises CancelledError if nothing will, MalformedRequest if that is within a request, and RequestTimeout if a
        request has taken too long to arrive, however steadily it drips.
        """
        assert self._http is not None
        stage = self._http.stage
        # Idle is between two requests; after a response, the rest of a body may still belong to the first of them.
        is_idle = stage is Stage.IDLE and not self._http.request_body
        if not self.input_ended:
            size = len(self.recv_buffer)
            await self._receive_by_the_deadline(stage, is_idle)
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

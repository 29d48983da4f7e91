"""Requests that go Sanic's own way, once their heads are checked to the letter.

What Sanic does otherwise than RFC 9112 says, or leaves open, is done here: chunks and trailers, an empty line before a
request, and the end of a connection on which bytes are still to come. It knows `Http` of sanic.http.http1, as of Sanic
25.12.
"""

import asyncio
import re
from typing import Any

from sanic.exceptions import PayloadTooLarge
from sanic.http.constants import Stage
from sanic.http.http1 import Http

from gateway.contract.problems import HttpRefusal, MalformedRequest
from gateway.wire.admission import Admission
from gateway.wire.chunks import ChunkReader
from gateway.wire.head import check_head
from wallet.errors import Overloaded

DISCARD_BYTES_MAX = 16 * 1024 * 1024
"""What is left of a body that was refused is read and dropped up to here, so that its sender gets the response."""
LINGER_S_MAX = 2.0
"""So long it is read and dropped where the connection ends after the response: closed at once, it would be reset."""

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
        """Return some bytes of the body, None at its end. Raises HttpRefusal, Overloaded and SanicException.

        After the response, what is left of the body is read in the same way: if it does not arrive in time, there is no
        room for it, or the client ends its side before, it counts as ended, and the connection ends with it.
        """
        if self.response is None or self.stage is not Stage.IDLE:
            return await self._read()
        try:
            return await self._read()
        except (HttpRefusal, Overloaded) as error:
            self._input_left = isinstance(error, Overloaded)
            self.keep_alive = False
            self.request_body = None
            return None

    async def _read(self) -> bytes | None:
        if self.chunks is None:
            data: bytes | None = await super().read()
            return data
        if self.expecting_continue:
            self.expecting_continue = False
            await self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (part := self.chunks.take(self.recv_buffer)) and not self.chunks.ended:
            await self._receive_more()
        if self.chunks.ended:
            self.request_body = None
        return part or None

    async def write(self, raw: bytes) -> None:
        """Send a response or a part of one, and see to it that it is read."""
        await self._send(raw)
        self._connection.wrote(len(raw))

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
        self.request.conn_info = self._connection.conn_info  # it has an address all the same

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
        """Drop what may stand before a request. It does not extend the time for which the connection may be idle."""
        buffer: bytearray = self.recv_buffer
        idle_since: float = self._connection._time
        while True:
            self._connection.require_room()
            if empty := _EMPTY_LINES.match(buffer):
                del buffer[: empty.end()]
            if buffer and buffer != b"\r":
                return
            self.stage = Stage.IDLE  # nothing of a request has arrived
            self._connection._time = idle_since
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
        protocol.drops_input = True
        self.stage = Stage.IDLE
        try:
            async with asyncio.timeout(LINGER_S_MAX):
                self.recv_buffer.clear()
                while protocol.dropped <= DISCARD_BYTES_MAX:
                    await self._receive_more()
        except TimeoutError:
            pass

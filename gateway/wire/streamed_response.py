"""A response whose body is made while it is sent, in bounded memory."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from sanic.exceptions import RequestCancelled
from sanic.http.constants import Stage

from gateway.wire.response import Response
from runtime.telemetry import log


class StreamedResponse(Response):
    """A response in pieces. If one of them can't be made, the connection is cut: what has come is not taken for all."""

    __slots__ = ("_pieces",)

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        content_type: str,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(b"", 200, content_type, extra)
        self._pieces = pieces

    def _framing(self, http: Any) -> bytes:
        if http.request.version == "1.0":  # the end of the connection is that of the body
            http.keep_alive = False
            return b""
        return b"transfer-encoding: chunked\r\n"

    async def send(self, data: Any = None, end_stream: bool | None = None) -> None:
        """Write the response to the connection; called by Sanic, once."""
        http: Any = self.stream
        if http.response_func is None:
            return
        http.response_func = None
        if http.request_body:
            http.leave_body()
        await http.write(self._head(http))
        try:
            if not http.head_only:
                await self._send_pieces(http)
        except (asyncio.CancelledError, RequestCancelled):
            raise
        except Exception as error:  # noqa: BLE001 - it is too late to refuse
            log.warning("response_cut", error=f"{type(error).__name__}: {error}", request_id=self.request_id)
            http.keep_alive = False
            http.protocol.transport.abort()
        finally:
            await self._pieces.aclose()
        http.stage = Stage.IDLE

    async def _send_pieces(self, http: Any) -> None:
        is_chunked = http.request.version != "1.0"
        async for piece in self._pieces:
            await http.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
        if is_chunked:
            await http.write(b"0\r\n\r\n")

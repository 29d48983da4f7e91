"""A small TCP proxy whose line can be cut in the ways that real lines are cut.

| mode | existing connections | new connections |
|---|---|---|
| pass | forwarded | forwarded |
| delay | every chunk arrives `delay_s` later, each way | the same |
| reset | all end with RST, once | forwarded |
| refuse | all end with RST | refused |
| blackhole | nothing gets through, either way | accepted, and nothing gets through |
| mute | the client's data arrives, answers do not | the same |
| nonsense | the client's data arrives, each piece of an answer is replaced (`nonsense.py`) | the same |

When the line is whole again, the retained data goes on, as in a network that retransmits. Each direction holds
`HELD_BYTES_MAX` at most and then stops reading.
"""

import asyncio
import socket
import struct
from collections import deque
from itertools import cycle
from typing import Literal, cast

from lab.chaos.nonsense import REPLIES
from ops.local.ports import listener

Mode = Literal["pass", "delay", "reset", "refuse", "blackhole", "mute", "nonsense"]

HELD_BYTES_MAX = 1 << 20
CONNECT_TIMEOUT_S = 2.0
CONNECTIONS_MAX = 2_000
_RST = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: close() sends RST


class Proxy:
    """Forwards data from `port` to `target` (host, port), as far as the mode allows."""

    def __init__(self, name: str, port: int = 0) -> None:
        """Take a port (0: any free one), so that others can learn it before anything runs."""
        self.name = name
        self.target: tuple[str, int] | None = None
        self.mode: Mode = "pass"
        self.delay_s = 0.0
        self.nonsense = cycle(REPLIES)
        self._pairs: set[_Pair] = set()
        self._socket: socket.socket | None = listener(port)
        self.port: int = self._socket.getsockname()[1]
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Accept connections, on the running event loop."""
        loop = asyncio.get_running_loop()
        sock, self._socket = self._socket or listener(self.port), None
        self._server = await loop.create_server(lambda: _Pair(self), sock=sock)

    async def stop(self) -> None:
        """End everything."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._socket is not None:
            self._socket.close()
        self._reset_all()

    async def set_mode(self, mode: Mode, delay_s: float = 0.0) -> None:
        """Cut the line in this way, or mend it (`pass`)."""
        self.mode, self.delay_s = mode, delay_s
        if mode in ("reset", "refuse"):
            self._reset_all()
        if mode == "refuse" and self._server is not None:
            self._server.close()
            self._server = None
        elif mode != "refuse" and self._server is None:
            await self.start()
        for pair in list(self._pairs):
            pair.mode_changed()

    def _reset_all(self) -> None:
        for pair in list(self._pairs):
            pair.reset()


class _Pair(asyncio.Protocol):
    """A client's connection and ours to the target. This object reads from the client, `_Target` from the target."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.client: asyncio.Transport | None = None
        self.target: asyncio.Transport | None = None
        self.to_target = _Direction(self, answers=False)
        self.to_client = _Direction(self, answers=True)
        self._connecting: asyncio.Task[None] | None = None
        self._gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: the connection is there."""
        self.client = cast(asyncio.Transport, transport)
        proxy = self.proxy
        if proxy.target is None or len(proxy._pairs) >= CONNECTIONS_MAX:
            self.reset()
            return
        proxy._pairs.add(self)
        self.to_target.connect(source=self.client, sink=None)
        self.to_client.connect(source=None, sink=self.client)
        self._connecting = asyncio.get_running_loop().create_task(self._connect(*proxy.target))

    async def _connect(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await loop.create_connection(lambda: _Target(self), host, port)
        except (OSError, TimeoutError):
            self.reset()  # the target is away: the client sees its connection end

    def data_received(self, data: bytes) -> None:
        """Pass on the bytes that came."""
        self.to_target.take(data)

    def eof_received(self) -> bool:
        """Pass on that the sender will send no more; the other direction goes on."""
        self.to_target.take(None)
        return True  # the other direction may go on

    def connection_lost(self, error: Exception | None) -> None:
        """Close: the connection has ended."""
        self.gone(heard=self.proxy.mode != "blackhole")

    def pause_writing(self) -> None:
        """Pause: what we write is not taken fast enough."""
        self.to_client.sink_full(True)

    def resume_writing(self) -> None:
        """Go on: it is taken again."""
        self.to_client.sink_full(False)

    def mode_changed(self) -> None:
        """Follow the line, which was cut or mended."""
        if self._gone:
            self.end()
            return
        self.to_target.flush()
        self.to_client.flush()

    def gone(self, *, heard: bool) -> None:
        """Handle the end of one side; the other side does not learn of it until the line is mended."""
        self._gone = True
        if heard:
            self.end()

    def reset(self) -> None:
        """End both connections with RST."""
        for transport in (self.client, self.target):
            if transport is not None and not transport.is_closing():
                sock = transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
                transport.abort()
        self.end()

    def one_way_ended(self) -> None:
        """Note the end of one direction; after both, close the connections, because nothing else would."""
        if self.to_client.closed and self.to_target.closed:
            self.end()

    def end(self) -> None:
        """Close both sides, after the data already written to them."""
        self.proxy._pairs.discard(self)
        if self._connecting is not None:
            self._connecting.cancel()
        for direction in (self.to_client, self.to_target):
            direction.close()
        for transport in (self.client, self.target):
            if transport is not None and not transport.is_closing():
                transport.close()


class _Target(asyncio.Protocol):
    """Reads from the target's side of a pair."""

    def __init__(self, pair: _Pair) -> None:
        self.pair = pair

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: the connection is there."""
        pair = self.pair
        pair.target = cast(asyncio.Transport, transport)
        pair.to_target.connect(source=pair.client, sink=pair.target)
        pair.to_client.connect(source=pair.target, sink=pair.client)

    def data_received(self, data: bytes) -> None:
        """Pass on the bytes that came."""
        self.pair.to_client.take(data)

    def eof_received(self) -> bool:
        """Pass on that the sender will send no more; the other direction goes on."""
        self.pair.to_client.take(None)
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """Close: the connection has ended."""
        self.pair.gone(heard=self.pair.proxy.mode not in ("blackhole", "mute"))

    def pause_writing(self) -> None:
        """Pause: what we write is not taken fast enough."""
        self.pair.to_target.sink_full(True)

    def resume_writing(self) -> None:
        """Go on: it is taken again."""
        self.pair.to_target.sink_full(False)


class _Direction:
    """The data of one direction of a pair: chunks, each with the earliest time of its delivery."""

    def __init__(self, pair: _Pair, *, answers: bool) -> None:
        self._pair = pair
        self._answers = answers
        self._source: asyncio.Transport | None = None
        self._sink: asyncio.Transport | None = None
        self._held: deque[tuple[float, bytes | None]] = deque()
        self._held_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._sink_full = False
        self.closed = False

    def connect(self, *, source: asyncio.Transport | None, sink: asyncio.Transport | None) -> None:
        """Set both ends, and deliver the data that came before."""
        self._source, self._sink = source, sink
        self.flush()

    def take(self, data: bytes | None) -> None:
        """Take bytes, or their end (None), from the source."""
        proxy = self._pair.proxy
        if not self._held and self._open() and not proxy.delay_s:
            self._deliver(data)
            return
        self._held.append((asyncio.get_running_loop().time() + proxy.delay_s, data))
        self._held_bytes += len(data or b"")
        self._regulate()
        self.flush()

    def flush(self) -> None:
        """Deliver the chunks that are due now, and schedule the others."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        while self._held and self._open():
            at, data = self._held[0]
            if at > loop.time():
                self._timer = loop.call_at(at, self.flush)
                break
            self._held.popleft()
            self._held_bytes -= len(data or b"")
            self._deliver(data)
        self._regulate()

    def sink_full(self, full: bool) -> None:
        """Note that the receiver's buffer is full, or no longer full."""
        self._sink_full = full
        self._regulate()

    def close(self) -> None:
        """Stop: take and deliver no more."""
        self.closed = True
        self._held.clear()
        self._held_bytes = 0
        if self._timer is not None:
            self._timer.cancel()

    def _open(self) -> bool:
        shut = ("blackhole", "mute") if self._answers else ("blackhole",)
        return self._sink is not None and not self.closed and self._pair.proxy.mode not in shut

    def _deliver(self, data: bytes | None) -> None:
        assert self._sink is not None
        if self._sink.is_closing():
            return
        if data is not None:
            garbles = self._answers and self._pair.proxy.mode == "nonsense"
            self._sink.write(next(self._pair.proxy.nonsense) if garbles else data)
        elif self._sink.can_write_eof():
            try:
                self._sink.write_eof()
            except OSError:  # the other side is gone already, and the loop has not noticed yet
                self._sink.abort()
            self.closed = True
            self._pair.one_way_ended()

    def _regulate(self) -> None:
        """Stop reading from the source while too much is held or the sink is full."""
        if self._source is None or self._source.is_closing():
            return
        if self._sink_full or self._held_bytes > HELD_BYTES_MAX:
            self._source.pause_reading()
        else:
            self._source.resume_reading()

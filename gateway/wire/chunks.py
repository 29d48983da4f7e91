"""Reads a body that comes in chunks (RFC 9112, 7.1), in a time that grows with its bytes only."""

import re

from gateway.contract.problems import MalformedRequest
from gateway.wire.head import TOKEN, check_trailers

LINE_BYTES_MAX = 256
"""Of a line that says how long a chunk is, with its extensions."""
TRAILERS_BYTES_MAX = 8192

_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_PLAIN_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})\r\n")
_SIZE_LINE = re.compile(
    rb"(?P<size>[0-9A-Fa-f]{1,16})(?:;" + TOKEN + rb"(?:=(?:" + TOKEN + rb"|" + _QUOTED + rb"))?)*\r\n"
)


class ChunkReader:
    """Takes the chunks of one body out of a buffer, as they arrive."""

    def __init__(self) -> None:
        self.ended = False
        """Whether the body is complete; the buffer then begins with the next request."""
        self.wire_bytes = 0
        """Bytes that were taken so far, with all that is around the chunks."""
        self._left = 0  # bytes of the chunk that are still to come
        self._in_trailers = False
        self._line_end_due = False  # after the bytes of a chunk

    def take(self, buffer: bytearray) -> bytes:
        """Return what has arrived of the body, and remove it from `buffer`. Raises MalformedRequest."""
        parts: list[bytes | bytearray] = []
        start = 0
        while not self.ended:
            if not (self._left or self._line_end_due or self._in_trailers):
                start = _take_whole(buffer, start, parts)
            at = self._step(buffer, start, parts)
            if at == start:
                break
            start = at
        del buffer[:start]
        self.wire_bytes += start
        return b"".join(parts)

    def _step(self, buffer: bytearray, start: int, parts: list[bytes | bytearray]) -> int:
        """Take one piece that begins at `start`. Return its end, or `start` if it has not all arrived."""
        if self._left:
            part = bytes(buffer[start : start + self._left])
            parts.append(part)
            self._left -= len(part)
            self._line_end_due = not self._left
            return start + len(part)
        if self._line_end_due:
            return self._take_line_end(buffer, start)
        if self._in_trailers:
            return self._take_trailers(buffer, start)
        return self._take_size(buffer, start)

    def _take_line_end(self, buffer: bytearray, start: int) -> int:
        found = buffer[start : start + 2]
        if not b"\r\n".startswith(found):
            raise MalformedRequest("a chunk is longer than it says")
        if len(found) < 2:
            return start
        self._line_end_due = False
        return start + 2

    def _take_size(self, buffer: bytearray, start: int) -> int:
        end = buffer.find(b"\n", start, start + LINE_BYTES_MAX) + 1
        if not end:
            if len(buffer) - start >= LINE_BYTES_MAX:
                raise MalformedRequest("the line before a chunk is too long")
            return start
        line = _SIZE_LINE.fullmatch(buffer, start, end)
        if line is None:
            raise MalformedRequest("the length of a chunk can't be read")
        self._left = int(line["size"], 16)
        self._in_trailers = not self._left
        return end

    def _take_trailers(self, buffer: bytearray, start: int) -> int:
        if buffer.startswith(b"\r\n", start):
            self.ended = True
            return start + 2
        end = buffer.find(b"\r\n\r\n", start)
        if (len(buffer) if end < 0 else end) - start > TRAILERS_BYTES_MAX:
            raise MalformedRequest("the trailers are too long")
        if end < 0:
            return start
        check_trailers(bytes(buffer[start : end + 2]))
        self.ended = True
        return end + 4


def _take_whole(buffer: bytearray, start: int, parts: list[bytes | bytearray]) -> int:
    """Take the chunks that begin at `start`, are all there and have no extensions: nearly all. Return their end."""
    while line := _PLAIN_SIZE_LINE.match(buffer, start):
        size, begin = int(line[1], 16), line.end()
        end = begin + size
        if not size or buffer[end : end + 2] != b"\r\n":
            break
        parts.append(buffer[begin:end])
        start = end + 2
    return start

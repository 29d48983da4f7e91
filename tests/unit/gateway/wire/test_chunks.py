"""Bodies in chunks are the same however they arrive; invalid chunks are refused; tiny ones cost little."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.problems import MalformedRequest
from gateway.wire.chunks import LINE_BYTES_MAX, TRAILERS_BYTES_MAX, ChunkReader

NEXT = b"GET / HTTP/1.1\r\n"


def read(parts: list[bytes]) -> tuple[bytes, bool, bytes, int]:
    """Return the body of what arrives in parts, whether it ended, what is left, and how many bytes it took."""
    reader, buffer, body = ChunkReader(), bytearray(), b""
    for part in parts:
        buffer += part
        body += reader.take(buffer)
    return body, reader.ended, bytes(buffer), reader.wire_bytes


def test_a_body_in_chunks() -> None:
    """Goal: sizes in both cases, with zeros, extensions and trailers; what follows is left."""
    wire = b'5\r\nhello\r\n0a;n=v;q="a;\\"b"\r\n0123456789\r\n1\r\n\n\r\n000\r\nX: 1\r\ny:\t2\r\n\r\n'
    assert read([wire + NEXT]) == (b"hello0123456789\n", True, NEXT, len(wire))
    assert read([b"0\r\n\r\n" + NEXT]) == (b"", True, NEXT, 5)


@given(st.lists(st.binary(min_size=1, max_size=40)), st.data())
def test_however_it_arrives(chunks: list[bytes], data: st.DataObject) -> None:
    """Goal: a body that comes byte by byte, or cut anywhere, is the body that was sent."""
    wire = b"".join(b"%X\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nX: 1\r\n\r\n"
    cuts = sorted(data.draw(st.sets(st.integers(0, len(wire)))))
    parts = [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert read(parts) == (b"".join(chunks), True, b"", len(wire))
    assert read([wire[n : n + 1] for n in range(len(wire))]) == read(parts)
    assert not read([wire[:-1]])[1]


@pytest.mark.parametrize(
    "wire",
    [
        b"g\r\n",
        b"\r\n",
        b"5\n",
        b"5 \r\n",
        b"5;\n\r\n",
        b"5;\x00\r\n",
        b"5\r\nhelloX",
        b"5\r\nhello\n",
        b"5\r\nhello\rX",
        b"1" * 17 + b"\r\n",
        b"5;" + b"x" * LINE_BYTES_MAX,
        b"0\r\nbad trailer\r\n\r\n",
        b"0\r\n folded: 1\r\n\r\n",
        b"0\r\nX: \x00\r\n\r\n",
        b"0\r\nX: 1\n\r\n\r\n",
        b"0\r\nHost: x\r\n\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
        b"0\r\nX: " + b"x" * TRAILERS_BYTES_MAX,
    ],
)
def test_what_is_no_chunk(wire: bytes) -> None:
    """Goal: it is refused as soon as it can be seen, whether it comes at once or byte by byte."""
    for parts in ([wire], [wire[n : n + 1] for n in range(len(wire))]):
        with pytest.raises(MalformedRequest):
            read(parts)


def test_tiny_chunks_cost_what_their_bytes_cost() -> None:
    """Goal: the work is linear: each piece is taken once, and nothing that was taken is touched again."""
    reader, buffer = ChunkReader(), bytearray(b"1\r\nx\r\n" * 100_000)
    assert reader.take(buffer) == b"x" * 100_000
    assert not buffer
    assert reader.wire_bytes == 600_000

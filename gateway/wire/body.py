"""Reads the body of a request, up to the limit of its endpoint."""

from collections.abc import Collection
from typing import Any

from sanic import Request

from gateway.contract.bodies import JSON
from gateway.contract.problems import PayloadTooLarge, UnsupportedMediaType
from gateway.wire.memory import BODY_COST, FREE_BYTES, Hold
from wallet.errors import Overloaded

OVERHEAD_BYTES_MAX = 8 * 1024
"""What is around the chunks of a body may be as long as the body, and this longer: tiny chunks cost much time."""


async def read_body(
    request: Request, media_types: Collection[str], bytes_max: int, hold: Hold | None
) -> bytes:
    """Return the body, never keeping more than `bytes_max` in memory.

    All that can be refused is refused before the body is read. A long body is counted in `hold`; one that is short and
    has arrived needs none. Raises UnsupportedMediaType, PayloadTooLarge, Overloaded if there is no room for it, and
    MalformedRequest for chunks that can't be read.
    """
    content_type = request.headers.get("content-type")
    if content_type != JSON and media_type_of(content_type) not in media_types:
        raise UnsupportedMediaType(f"Content-Type must be {' or '.join(media_types)}")
    if "content-encoding" in request.headers and _is_encoded(request):
        raise UnsupportedMediaType("a body must not be compressed (Content-Encoding)")
    stream: Any = request.stream
    body = request.body  # all of it on the fast path, else nothing yet
    if len(body) > bytes_max or (stream.request_bytes_left or 0) > bytes_max:
        raise _too_large(bytes_max)
    _hold_body(hold, max(len(body), stream.request_bytes_left or 0))
    if not stream.request_body:
        return body
    return await _read_parts(stream, bytes_max, hold)


def media_type_of(content_type: str | None) -> str:
    """Return the media type of a `Content-Type`, without parameters, in small letters."""
    return (content_type or "").partition(";")[0].strip().lower()


def _is_encoded(request: Request) -> bool:
    """Tell whether the body says to be encoded: a proxy that undoes that would read another one than we do."""
    return any(value.strip().lower() != "identity" for value in request.headers.getall("content-encoding"))


async def _read_parts(stream: Any, bytes_max: int, hold: Hold | None) -> bytes:
    parts, size = [], 0
    while stream.request_body:
        part = await stream.read()
        if part:
            size += len(part)
            parts.append(part)
        if size > bytes_max:
            raise _too_large(bytes_max)
        _hold_body(hold, size)
        if stream.chunks and stream.chunks.wire_bytes > 2 * size + OVERHEAD_BYTES_MAX:
            raise PayloadTooLarge("the chunks of the body are too small for their number")
    return b"".join(parts)


def _hold_body(hold: Hold | None, size: int) -> None:
    if hold is not None and size > FREE_BYTES and not hold.grow(size * BODY_COST):
        raise Overloaded("too many long requests at once")


def _too_large(bytes_max: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body is longer than {bytes_max} bytes")

"""A request's body: read with a limit, checked before its content is looked at."""

from collections.abc import Sequence
from typing import Any

from sanic import Request

from gateway.http import JSON, NDJSON
from gateway.problems import PayloadTooLarge, UnsupportedMediaType

BODY_BYTES_MAX = 64 * 1024
BULK_BYTES_MAX = 1024 * 1024
DISCARD_BYTES_MAX = 16 * 1024 * 1024
"""So much of a body that is too long is read and dropped, so that its sender hears the 413 and not a reset."""


async def read_body(request: Request, bytes_max: int) -> bytes:
    """Return the body. Raises PayloadTooLarge; no more than `bytes_max` is ever kept in memory.

    Sanic's own way keeps all that it reads, up to one limit for all routes, and resets the connection beyond.
    """
    stream: Any = request.stream
    body = request.body  # all of it, or nothing yet
    size = len(body)
    while stream.request_body:
        part = await stream.read()
        if part:
            size += len(part)
            if size <= bytes_max:
                body = body + part if body else part
            elif size > DISCARD_BYTES_MAX:
                stream.keep_alive = False
                stream.request_body = None
                break
    if size > bytes_max:
        raise PayloadTooLarge(f"the body is longer than {bytes_max} bytes")
    return body


def json_body(request: Request) -> bytes:
    """Return the body, if it says that it is JSON or says nothing. Raises UnsupportedMediaType."""
    content_type = request.headers.get("content-type")
    if content_type is not None and content_type != JSON:
        _check(content_type, (JSON,))
    return request.body


def bulk_body(request: Request) -> tuple[bytes, bool]:
    """Return the body, and whether it is NDJSON. Raises UnsupportedMediaType."""
    content_type = request.headers.get("content-type")
    kind = JSON if content_type is None else _check(content_type, (JSON, NDJSON))
    return request.body, kind == NDJSON


def key_header(request: Request) -> Sequence[str]:
    """Return what each Idempotency-Key header says, as it is: mostly there is none."""
    if "idempotency-key" not in request.headers:
        return ()
    lines: list[str] = request.headers.getall("idempotency-key")
    return lines


def _check(content_type: str, allowed: tuple[str, ...]) -> str:
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in allowed:
        raise UnsupportedMediaType(f"{kind[:100]!r} is not {' or '.join(allowed)}")
    return kind

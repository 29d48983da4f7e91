"""The checks on a request's body and headers that come before its content."""

from sanic import Request

from gateway.http import JSON, NDJSON
from gateway.problems import PayloadTooLarge, UnsupportedMediaType

BODY_BYTES_MAX = 64 * 1024
BULK_BYTES_MAX = 1024 * 1024
READ_BYTES_MAX = 2 * 1024 * 1024
"""What is read at all, so that a body that is too long by no more than this gets its 413 and not a reset."""


def json_body(request: Request) -> bytes:
    """Return the body. Raises UnsupportedMediaType, PayloadTooLarge."""
    content_type = request.headers.get("content-type")
    if content_type is not None and content_type != JSON:
        _check(content_type, (JSON,))
    body = request.body
    if len(body) > BODY_BYTES_MAX:
        raise PayloadTooLarge(f"the body is longer than {BODY_BYTES_MAX} bytes")
    return body


def bulk_body(request: Request) -> tuple[bytes, bool]:
    """Return the body, and whether it is NDJSON. Raises UnsupportedMediaType, PayloadTooLarge."""
    content_type = request.headers.get("content-type")
    kind = JSON if content_type is None else _check(content_type, (JSON, NDJSON))
    body = request.body
    if len(body) > BULK_BYTES_MAX:
        raise PayloadTooLarge(f"the body is longer than {BULK_BYTES_MAX} bytes")
    return body, kind == NDJSON


def header_key(request: Request) -> str | None:
    """Return what the Idempotency-Key header says, as it is."""
    key: str | None = request.headers.get("idempotency-key")
    return key


def _check(content_type: str, allowed: tuple[str, ...]) -> str:
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in allowed:
        raise UnsupportedMediaType(f"{kind[:100]!r} is not {' or '.join(allowed)}")
    return kind

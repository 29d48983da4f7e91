"""Requests as handlers see them: the body, after a check of its media type, and the Idempotency-Key header."""

from collections.abc import Sequence

from sanic import Request

from gateway.contract.bodies import JSON, NDJSON
from gateway.contract.problems import UnsupportedMediaType

__all__ = ["Request", "bulk_body", "json_body", "key_header"]


def json_body(request: Request) -> bytes:
    """Return the body. Raises UnsupportedMediaType if it is declared as anything but JSON."""
    content_type = request.headers.get("content-type")
    if content_type is not None and content_type != JSON:
        _check(content_type, (JSON,))
    return request.body


def bulk_body(request: Request) -> tuple[bytes, bool]:
    """Return the body, and whether it is NDJSON. Raises UnsupportedMediaType if it is declared as neither."""
    content_type = request.headers.get("content-type")
    kind = JSON if content_type is None else _check(content_type, (JSON, NDJSON))
    return request.body, kind == NDJSON


def key_header(request: Request) -> Sequence[str]:
    """Return the value of each Idempotency-Key header as it came; most requests have none."""
    if "idempotency-key" not in request.headers:
        return ()
    lines: list[str] = request.headers.getall("idempotency-key")
    return lines


def _check(content_type: str, allowed: tuple[str, ...]) -> str:
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in allowed:
        raise UnsupportedMediaType(f"{kind[:100]!r} is not {' or '.join(allowed)}")
    return kind

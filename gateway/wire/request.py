"""Requests as handlers see them: the body, and the Idempotency-Key header."""

from collections.abc import Sequence

from sanic import Request

from gateway.contract.bodies import JSON, NDJSON
from gateway.wire.body import media_type_of

__all__ = ["Request", "is_ndjson", "key_header"]


def is_ndjson(request: Request) -> bool:
    """Tell whether the body is NDJSON."""
    content_type = request.headers.get("content-type")
    return content_type != JSON and media_type_of(content_type) == NDJSON


def key_header(request: Request) -> Sequence[str]:
    """Return the value of each Idempotency-Key header as it came; most requests have none."""
    if "idempotency-key" not in request.headers:
        return ()
    lines: list[str] = request.headers.getall("idempotency-key")
    return lines

"""Requests as handlers see them: the body, the Idempotency-Key header, and what the client wants to have."""

import re
from collections.abc import Sequence

from sanic import Request

from gateway.contract.bodies import JSON, NDJSON
from gateway.wire.body import media_type_of

__all__ = ["Request", "is_ndjson", "key_header", "wants"]

_QUALITY = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


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


def wants(request: Request, media_type: str) -> bool:
    """Tell whether the client would rather have this than JSON (`Accept`, RFC 9110, 12.5.1).

    Where both are as good to it, it has to name the media type.
    """
    accept = ",".join(request.headers.getall("accept", ()))
    if accept in ("", "*/*", JSON):
        return False
    accepted = _accepted(accept)
    wanted, json = (_quality(accepted, one) for one in (media_type, JSON))
    return wanted > json or (wanted == json > 0 and media_type in accepted)


def _accepted(accept: str) -> dict[str, float]:
    """Return the quality of each media range. One that can't be read counts as 1, so that it is not overlooked."""
    accepted = {}
    for part in accept.split(","):
        media_range, *parameters = (word.strip().lower() for word in part.split(";"))
        given = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        accepted[media_range] = float(given) if _QUALITY.fullmatch(given) else 1.0
    return accepted


def _quality(accepted: dict[str, float], media_type: str) -> float:
    """Return the quality of the range that names a media type most closely, 0 for one that is not accepted."""
    ranges = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
    return next((accepted[name] for name in ranges if name in accepted), 0.0)

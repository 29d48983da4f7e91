"""Reads the body of a request, up to the limit of its endpoint."""

from typing import Any

from sanic import Request

from gateway.contract.problems import PayloadTooLarge

DISCARD_BYTES_MAX = 16 * 1024 * 1024
"""A body that is too long is read and dropped up to here, so that its sender gets the 413 and not a reset."""


async def read_body(request: Request, bytes_max: int) -> bytes:
    """Return the body, never keeping more than `bytes_max` in memory. Raises PayloadTooLarge.

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

"""Where a request came from: its id, and its place in a trace (W3C Trace Context, https://www.w3.org/TR/trace-context/)."""

import re
import secrets
from typing import NamedTuple

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")


class Trace(NamedTuple):
    """What a request leaves with the withdrawal that it made: it is told to the bank, and stands in its events."""

    request_id: str
    """At most 128 printable ASCII characters."""
    traceparent: str
    """55 characters: version, trace, span of the request, flags."""


def trace_of(request_id: str, traceparent: str | None) -> Trace:
    """Return a request's trace. A header that is missing or unreadable begins a new one, which nobody samples."""
    if traceparent is None or not _TRACEPARENT.match(traceparent):
        traceparent = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
    return Trace(request_id, traceparent)


def next_span(traceparent: str) -> str:
    """Return the same trace at another span: for a call that is made because of it."""
    return f"{traceparent[:36]}{secrets.token_hex(8)}{traceparent[52:]}"

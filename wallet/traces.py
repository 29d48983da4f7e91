"""Where a request came from: its id, and its place in a trace (W3C Trace Context, https://www.w3.org/TR/trace-context/)."""

import re
import secrets
from typing import NamedTuple

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")


class Trace(NamedTuple):
    """What a request leaves with the withdrawal that it made: it is told to the bank, and stands in its events."""

    request_id: str
    """At most 128 printable ASCII characters; empty if nobody knows it."""
    traceparent: str
    """55 characters: version, trace, span, flags."""

    def next_span(self) -> "Trace":
        """Return the same trace at another span: for a call that is made because of it."""
        place = self.traceparent
        return Trace(self.request_id, f"{place[:36]}{secrets.token_hex(8)}{place[52:]}")

    def headers(self) -> dict[str, str]:
        """Return the headers of a call that is made at this span."""
        headers = {"traceparent": self.traceparent}
        if self.request_id:
            headers["x-request-id"] = self.request_id
        return headers


def trace_of(request_id: str, traceparent: str | None) -> Trace:
    """Return a request's trace. A header that is missing or unreadable begins a new one, which nobody samples."""
    if traceparent is None or not is_readable(traceparent):
        traceparent = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
    return Trace(request_id, traceparent)


def kept_trace(request_id: str | None, traceparent: str | None) -> Trace | None:
    """Return the trace that was kept with a withdrawal; None: it is older than traces, or was adopted."""
    return None if request_id is None or traceparent is None else Trace(request_id, traceparent)


def is_readable(traceparent: str) -> bool:
    """Tell whether a header names a place in a trace."""
    return _TRACEPARENT.match(traceparent) is not None

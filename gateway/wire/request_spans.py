"""A span for each request, where a collector is told of spans. Otherwise nothing of this is in a request's way."""

from collections.abc import Awaitable, Callable
from typing import Any

from sanic import Request

from gateway.contract.operation import Operation
from gateway.wire.auth import Caller
from gateway.wire.response import Response
from runtime.spans import spans
from wallet.traces import Trace, is_readable

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Others come from outside and are told as `_OTHER`, as the semantic conventions have it."""
_SAID = ("id", "withdrawal_id", "items", "refused", "replayed")
"""What the log says of a request's work is said of its span, too: ids and counts, no amounts."""
_TRACEPARENT = "traceparent"

_PROBES = frozenset({"getHealth", "getLiveness", "getReadiness", "getMetrics"})
"""Load balancers, supervisors and Prometheus send these every few seconds: traces of them tell nobody anything."""

Serve = Callable[..., Awaitable[Response]]
Identify = Callable[[Request], Caller]


def remembering(identify: Identify) -> Identify:
    """Return an `identify` that leaves the key's name with the request."""

    def identify_and_keep(request: Request) -> Caller:
        caller = identify(request)
        request.ctx.by = caller.name
        return caller

    return identify_and_keep


def in_spans(serve: Serve, operation: Operation) -> Serve:
    """Return a `serve` whose requests are each a span, but for probes. What they lead to is told to be within it."""
    if operation.id in _PROBES:
        return serve
    route, name = operation.path, f"{operation.method} {operation.path}"

    async def serve_in_span(request: Request, **parts: str) -> Response:
        about = {**_about(request), "http.route": route}
        with spans.request(name, _parent(request), about) as span:
            assert span.trace is not None
            request.headers[_TRACEPARENT] = span.trace.traceparent
            response = await serve(request, **parts)
            said = {f"wbs.{key}": response.wrote.get(key) for key in _SAID}
            if response.status < 400 and "withdrawal_id" in parts:
                said["wbs.withdrawal_id"] = parts["withdrawal_id"]
            span.note(said | _told(request, response), error=_error(response))
        return response

    return serve_in_span


def tell_unrouted(request: Request, response: Response) -> None:
    """Tell of a request that never came to an endpoint. Its path comes from outside, and is not told."""
    about = _about(request)
    method = about["http.request.method"]
    with spans.request("HTTP" if method == "_OTHER" else method, _parent(request), about) as span:
        span.note(_told(request, response), error=_error(response))


def _about(request: Request) -> dict[str, Any]:
    return {
        "http.request.method": request.method if request.method in METHODS else "_OTHER",
        "network.protocol.version": request.version,
        "url.scheme": "http",
    }


def _told(request: Request, response: Response) -> dict[str, Any]:
    return {
        "http.response.status_code": response.status,
        "wbs.request_id": response.request_id,
        "wbs.by": getattr(request.ctx, "by", None),
        "wbs.code": response.code,
    }


def _parent(request: Request) -> Trace | None:
    given = request.headers.get(_TRACEPARENT)
    return Trace("", given) if given is not None and is_readable(given) else None


def _error(response: Response) -> str | None:
    return str(response.status) if response.status >= 500 else None

"""What every endpoint has in common, in one wrapper: who calls, request id, errors, metrics.

One wrapper and not Sanic's middleware and signals: those cost a lookup and an await each, for every request.
"""

import os
from collections.abc import Awaitable, Callable
from itertools import count
from time import monotonic, perf_counter
from typing import Any

from sanic import Request, Sanic
from sanic import exceptions as sanic_errors

from gateway.auth import NOBODY, Authenticator, Caller, RateLimiter
from gateway.body import read_body
from gateway.http import Answer
from gateway.metrics import MetricsFlusher, RouteMetrics
from gateway.operation import Operation
from gateway.problems import (
    Forbidden,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    encode_problem,
    headers_of,
    problem_of,
)
from runtime.telemetry import REFUSALS, log
from wallet.errors import Overloaded, WalletError

REQUEST_ID_CHARS_MAX = 128
UNROUTED = "unrouted"
"""Label of requests that met no endpoint: paths come from outside and must not become labels."""

Handler = Callable[..., Awaitable[Answer]]
"""(request, caller, **parts of the path) -> Answer"""


class RequestIds:
    """Gives each request a name: the client's own, if it is readable, else one of ours."""

    def __init__(self) -> None:
        self._prefix = os.urandom(8).hex()
        self._numbers = count(1)

    def of(self, request: Request) -> str:
        """Return the request's id: what X-Request-Id says, or this process's random name and a number."""
        given: str | None = request.headers.get("x-request-id")
        if given and len(given) <= REQUEST_ID_CHARS_MAX and given.isascii() and given.isprintable():
            return given
        return f"{self._prefix}-{next(self._numbers):x}"


class Endpoints:
    """Adds handlers to the application, each inside the one wrapper."""

    def __init__(
        self,
        app: Sanic[Any, Any],
        authenticator: Authenticator,
        limiter: RateLimiter | None,
        flusher: MetricsFlusher,
    ) -> None:
        self._app = app
        self._flusher = flusher
        self._authenticator = authenticator
        self._limiter = limiter
        self._ids = RequestIds()
        self._unrouted = self._metrics(UNROUTED)
        self._quiet = Quiet()
        self.operations: list[Operation] = []
        app.error_handler.add(Exception, self._not_routed)

    def add(self, operation: Operation, handler: Handler) -> None:
        """Serve `operation` by `handler`, and remember it for the OpenAPI document."""
        metrics = self._metrics(operation.path)
        ids, refuse, method = self._ids, self._refuse, operation.method
        bytes_max = operation.body.bytes_max if operation.body else 0
        identify = None if operation.open_to_all else self._identifier(operation.writes)

        async def wrapper(request: Request, **parts: str) -> Answer:
            started = perf_counter()
            request_id = ids.of(request)
            try:
                if bytes_max:
                    request.body = await read_body(request, bytes_max)
                caller = NOBODY if identify is None else identify(request)
                answer = await handler(request, caller, **parts)
            except sanic_errors.RequestCancelled:
                raise
            except Exception as error:  # noqa: BLE001 - the boundary: every error becomes an answer
                answer = refuse(request, error, request_id)
            answer.request_id = request_id
            metrics.observe(method, answer.status, perf_counter() - started)
            return answer

        path = operation.path.replace("{", "<").replace("}", ">")
        serve: Any = wrapper
        # RFC 9110, 9.3.2: what answers GET answers HEAD, with the same head and no body (see `Answer`).
        methods = ["GET", "HEAD"] if method == "GET" else [method]
        self._app.add_route(serve, path, methods=methods, name=operation.id, stream=bytes_max > 0)
        self.operations.append(operation)

    def _metrics(self, route: str) -> RouteMetrics:
        metrics = RouteMetrics(route)
        self._flusher.add(metrics.flush)
        return metrics

    def _identifier(self, writes: bool) -> Callable[[Request], Caller] | None:
        """Return what finds out who sent a request, or None if there is nothing to find out."""
        authenticator, limiter = self._authenticator, self._limiter
        if not authenticator.enabled and limiter is None:
            return None

        def identify(request: Request) -> Caller:
            caller = NOBODY
            if authenticator.enabled:
                caller = authenticator.identify(request.headers.get("authorization"))
                if writes and not caller.may_write:
                    raise Forbidden("this key may only read")
            if limiter is not None:
                limiter.take(caller.name)
            return caller

        return identify

    def _not_routed(self, request: Request, error: Exception) -> Answer:
        """Answer what never came to a handler: unknown path, wrong method, broken HTTP, timeouts."""
        answer = self._refuse(request, error, request_id := self._ids.of(request))
        answer.request_id = request_id
        self._unrouted.observe("any", answer.status, 0.0)
        return answer

    def _refuse(self, request: Request, error: Exception, request_id: str) -> Answer:
        error = _translate(request, error)
        problem = problem_of(error, request_id)
        REFUSALS.labels(problem.code).inc()
        if problem.status >= 500:
            self._quiet.log(problem.code, error, request, request_id)
        else:
            log.debug("request_refused", code=problem.code, path=request.path, request_id=request_id)
        headers = headers_of(error)
        return Answer(encode_problem(problem), problem.status, headers.pop("content-type"), headers)


class Quiet:
    """Logs failures of the service, each code once a second at most: an outage must not fill the disk too."""

    INTERVAL_S = 1.0

    def __init__(self) -> None:
        self._next_at: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def log(self, code: str, error: Exception, request: Request, request_id: str) -> None:
        """Log `error`, or count it as left out."""
        now = monotonic()
        if now < self._next_at.get(code, 0.0):
            self._left_out[code] = self._left_out.get(code, 0) + 1
            return
        self._next_at[code] = now + self.INTERVAL_S
        ids: dict[str, Any] = {
            "code": code,
            "path": request.path,
            "request_id": request_id,
            "left_out": self._left_out.pop(code, 0),
        }
        if isinstance(error, WalletError):
            log.warning("request_failed", detail=str(error), **ids)
        else:
            log.error("request_failed", exc_info=True, **ids)


def _translate(request: Request, error: Exception) -> Exception:
    """Turn Sanic's errors into refusals of ours."""
    if isinstance(error, WalletError):
        return error
    if isinstance(error, sanic_errors.NotFound):
        return NotFound(f"there is no {request.path}")
    if isinstance(error, sanic_errors.MethodNotAllowed):
        return MethodNotAllowed(request.method, list(error.headers.get("Allow", "").split(", ")))
    if isinstance(error, sanic_errors.PayloadTooLarge):
        return PayloadTooLarge("the request is longer than the limit")
    if isinstance(error, sanic_errors.ServiceUnavailable):
        return Overloaded("the answer took too long")
    if isinstance(error, sanic_errors.RequestTimeout):
        return MalformedRequest("the request did not arrive in time", {"connection": "close"})
    if isinstance(error, sanic_errors.SanicException) and 400 <= error.status_code < 500:
        return MalformedRequest(str(error))
    return error

"""Wraps every handler: request id, body limit, caller, errors, metrics.

It is one wrapper in place of Sanic's middleware and signals, which cost a lookup and an await each, for every request.
"""

import os
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from time import perf_counter
from typing import Any

from sanic import Request
from sanic.exceptions import MethodNotAllowed as SanicMethodNotAllowed
from sanic.exceptions import RequestCancelled

from gateway.contract.bodies import BODY_BYTES_MAX, JSON
from gateway.contract.operation import Operation
from gateway.contract.problems import HttpRefusal
from gateway.wire.admission import Admission
from gateway.wire.application import Application
from gateway.wire.auth import NOBODY, Authenticator, Caller, Login
from gateway.wire.body import read_body
from gateway.wire.error_responses import ErrorResponder
from gateway.wire.memory import FREE_BYTES, Hold, MemoryBudget
from gateway.wire.metrics import MetricsFlusher, RouteMetrics
from gateway.wire.rate_limits import RateLimiter
from gateway.wire.refusals import Refusals, Worked
from gateway.wire.request_spans import in_spans, remembering, tell_unrouted
from gateway.wire.response import Response
from runtime.spans import spans
from runtime.trail import trail
from wallet.errors import Overloaded, ValidationFailed
from wallet.scopes import Scope

REQUEST_ID_CHARS_MAX = 128
LONG_S = 0.1
"""A read that took longer shows its key once more before it is answered."""
UNROUTED = "unrouted"
"""Label of requests that reached no endpoint: their paths come from outside and must not become labels."""

Handler = Callable[..., Awaitable[Response]]
"""(request, caller, **parts of the path) -> Response"""


class RequestIds:
    """Gives each request an id: the client's own, if it is readable, else a new one."""

    def __init__(self) -> None:
        self._prefix = os.urandom(8).hex()
        self._numbers = count(1)

    def of(self, request: Request) -> str:
        """Return the request's id: the value of X-Request-Id, or this process's random name and a number."""
        given: str | None = request.headers.get("x-request-id")
        if given and len(given) <= REQUEST_ID_CHARS_MAX and given.isascii() and given.isprintable():
            return given
        return f"{self._prefix}-{next(self._numbers):x}"


class Endpoints:
    """Adds handlers to the application, each inside the one wrapper."""

    def __init__(
        self,
        app: Application,
        authenticator: Authenticator,
        limiter: RateLimiter | None,
        flusher: MetricsFlusher,
    ) -> None:
        self._app = app
        self._flusher = flusher
        self._authenticator = authenticator
        self._limiter = limiter
        self._ids = RequestIds()
        self._errors = ErrorResponder()
        self._refusals = Refusals()
        self._unrouted = self._metrics(UNROUTED, "any")
        self.operations: list[Operation] = []
        app.error_handler.add(Exception, self._not_routed)

    def add(self, operation: Operation, handler: Handler) -> None:
        """Serve `operation` by `handler`, and remember it for the OpenAPI document."""
        metrics = self._metrics(operation.path, operation.method)
        ids, refuse, method = self._ids, self._errors.respond, operation.method
        limiter = None if operation.scope is None else self._limiter
        expects_body, traced = operation.body is not None, operation.traced
        # A body that an endpoint has no use for is read and ignored. It has to be JSON all the same.
        media_types = tuple(operation.body.kinds) if operation.body else (JSON,)
        bytes_max = operation.body.bytes_max if operation.body else BODY_BYTES_MAX
        memory: MemoryBudget = self._app.ctx.memory
        # What may be long is done when its client has paid for what was refused, and measured.
        is_bulk = bytes_max > BODY_BYTES_MAX
        client_of, refusals, pay = self._client_of, self._refusals, self._pay
        identify = None if operation.scope is None else self._identifier(operation.scope)
        note, is_read = _noter(operation), method == "GET"

        async def wrapper(request: Request, **parts: str) -> Response:
            started = perf_counter()
            request_id = ids.of(request)
            if traced:
                request.ctx.request_id = request_id
            caller = NOBODY
            hold = worked = None
            try:
                if identify is not None:
                    caller = identify(request)
                if limiter is not None:
                    limiter.take(caller.name)
                if expects_body or request.body or request.stream.request_body:  # type: ignore[union-attr]
                    if len(request.body) > FREE_BYTES or request.stream.request_body:  # type: ignore[union-attr]
                        await refusals.settle(client_of(request, caller))
                        hold = Hold(memory, caller.name or request.ip)
                    elif is_bulk:
                        await refusals.settle(client_of(request, caller))
                    request.body = await read_body(request, media_types, bytes_max, hold)
                if is_bulk or hold is not None:
                    worked = Worked(handler(request, caller, **parts))
                    response = await worked
                    if wasted := worked.seconds * response.refused_share:
                        refusals.owe(client_of(request, caller), wasted, len(request.body))
                else:
                    response = await handler(request, caller, **parts)
                if identify is not None and is_read and perf_counter() - started > LONG_S:
                    identify(request)  # the key may have been revoked while the request waited
                if len(response.body) > FREE_BYTES and not memory.has_room(request.ip, len(response.body)):  # type: ignore[arg-type]
                    raise Overloaded("too many long responses at once")
            except RequestCancelled:
                raise
            except Exception as error:  # noqa: BLE001 - the boundary: every error becomes a response
                if isinstance(error, HttpRefusal | ValidationFailed):
                    await pay(request, caller, hold, 0.0 if worked is None else worked.seconds)
                response = refuse(request, error, request_id, caller.name)
            finally:
                if hold is not None:
                    hold.shrink()
            if limiter is not None:
                response.extra = {**(response.extra or {}), **limiter.headers(caller.name)}
            response.request_id = request_id
            seconds = perf_counter() - started
            metrics.observe(method, response.status, seconds)
            if note is not None:
                note(response, caller.name, seconds)
            return response

        path = operation.path.replace("{", "<").replace("}", ">")
        serve: Any = in_spans(wrapper, operation) if spans.are_told else wrapper
        # RFC 9110, 9.3.2: a path that takes GET takes HEAD, with the same head and no body (see `Response`).
        methods = ["GET", "HEAD"] if method == "GET" else [method]
        self._app.add_route(serve, path, methods=methods, name=operation.id, stream=True)
        self.operations.append(operation)

    def _metrics(self, route: str, method: str) -> RouteMetrics:
        metrics = RouteMetrics(route, (method,))
        self._flusher.add(metrics.flush)
        return metrics

    def _identifier(self, scope: Scope) -> Callable[[Request], Caller] | None:
        """Return the function that finds out who sent a request, or None if there is nothing to find out."""
        if self._authenticator.login is Login.OFF:
            return None
        identify = partial(self._authenticator.identify, scope=scope)
        return remembering(identify) if spans.are_told else identify

    def _client_of(self, request: Request, caller: Caller) -> str:
        """Return who pays for a refusal: the key, or the address of whom we do not know."""
        return caller.name or self._authenticator.address_of(request)

    async def _pay(self, request: Request, caller: Caller, hold: Hold | None, worked_s: float) -> None:
        """Let who is refused very often wait, for which its body is not kept."""
        size, request.body = len(request.body), b""
        if hold is not None:
            hold.shrink()
        await self._refusals.pay(self._client_of(request, caller), worked_s, size)

    async def _not_routed(self, request: Request, error: Exception) -> Response:
        """Respond to a request that never came to a handler: unknown path, wrong method, broken HTTP, timeouts."""
        request_id = self._ids.of(request)
        preflight = self._preflight(request, error)
        response = preflight or self._errors.respond(request, error, request_id)
        if response.status < 500 and preflight is None:
            await self._refusals.pay(self._client_of(request, NOBODY))
        response.request_id = request_id
        self._unrouted.observe("any", response.status, 0.0)
        if spans.are_told and request.route is None:  # else it came to its endpoint, and took too long there
            tell_unrouted(request, response)
        return response

    def _preflight(self, request: Request, error: Exception) -> Response | None:
        """Return the response to a browser that asks what a page may do; None to anybody else."""
        if not isinstance(error, SanicMethodNotAllowed):
            return None
        admission: Admission = self._app.ctx.admission
        headers = admission.preflight_headers(request, error.headers.get("Allow", ""))
        return None if headers is None else Response(b"", 204, extra=headers)


def _noter(operation: Operation) -> Callable[[Response, str | None, float], None] | None:
    """Return the function that logs a request which writes, refused or not: one line, also for a thousand charges."""
    if operation.method == "GET" or operation.scope is None:
        return None
    name, note_line = operation.id, trail.note

    def note(response: Response, by: str | None, seconds: float) -> None:
        ids = response.wrote if response.code is None else {"code": response.code}
        note_line(
            name,
            request_id=response.request_id,
            by=by,
            status=response.status,
            ms=round(seconds * 1000, 1),
            **ids,
        )

    return note

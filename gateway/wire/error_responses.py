"""Turns errors, ours and Sanic's, into responses, and logs failures of the service."""

from typing import Any

from sanic import Request
from sanic import exceptions as sanic_errors

from gateway.contract.problem_kinds import KINDS
from gateway.contract.problems import (
    MalformedRequest,
    MethodNotAllowed,
    PathNotFound,
    PayloadTooLarge,
    RequestTimeout,
    encode_problem,
    headers_of,
    problem_of,
)
from gateway.wire.response import Response
from runtime.telemetry import REFUSALS, log, start_at_zero
from runtime.throttle import Throttle
from wallet.errors import Overloaded, WalletError


class ErrorResponder:
    """Makes the responses to requests that failed. Their bodies are problems."""

    def __init__(self) -> None:
        self._failures = ThrottledLogger()
        start_at_zero(REFUSALS, KINDS)

    def respond(self, request: Request, error: Exception, request_id: str, by: str | None = None) -> Response:
        """Return the response to `error`. Count it, and log it if the service failed. `by`: the API key's name."""
        error = _translated(request, error)
        problem = problem_of(error, request_id)
        REFUSALS.labels(problem.code).inc()
        if problem.status >= 500:
            self._failures.log(problem.code, error, request, request_id, by)
        else:
            log.debug("request_refused", code=problem.code, path=request.path, request_id=request_id, by=by)
        headers = headers_of(error)
        response = Response(encode_problem(problem), problem.status, headers.pop("content-type"), headers)
        response.code = problem.code
        return response


class ThrottledLogger:
    """Logs failures of the service, at most one per code and second: an outage must not fill the disk too."""

    def __init__(self) -> None:
        self._throttles: dict[str, Throttle] = {}

    def log(
        self, code: str, error: Exception, request: Request, request_id: str, by: str | None = None
    ) -> None:
        """Log `error`, or count it as left out. Called while `error` is handled."""
        throttle = self._throttles.setdefault(code, Throttle())
        if not throttle.lets_through():
            return
        ids: dict[str, Any] = {
            "code": code,
            "path": request.path,
            "request_id": request_id,
            "by": by,
            "left_out": throttle.left_out,
        }
        if isinstance(error, WalletError):
            log.warning("request_failed", detail=str(error), **ids)
        else:
            log.error("request_failed", exc_info=True, **ids)


def _translated(request: Request, error: Exception) -> Exception:
    """Return the refusal of ours that one of Sanic's errors stands for, any other error as it is."""
    if isinstance(error, WalletError):
        return error
    if isinstance(error, sanic_errors.NotFound):
        return PathNotFound(f"there is no {request.path}")
    if isinstance(error, sanic_errors.MethodNotAllowed):
        return MethodNotAllowed(request.method, list(error.headers.get("Allow", "").split(", ")))
    if isinstance(error, sanic_errors.PayloadTooLarge):
        return PayloadTooLarge("the request is longer than the limit")
    if isinstance(error, sanic_errors.ServiceUnavailable):
        return Overloaded("the answer took too long")
    if isinstance(error, sanic_errors.RequestTimeout):
        return RequestTimeout("the request did not arrive in time")
    if isinstance(error, sanic_errors.SanicException) and 400 <= error.status_code < 500:
        return MalformedRequest(str(error))
    return error

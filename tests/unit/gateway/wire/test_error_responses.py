"""Errors become problems, and failures of the service come to the log, not too often."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from sanic import exceptions as sanic_errors

from gateway.wire import error_responses
from gateway.wire.error_responses import ErrorResponder
from runtime.throttle import Throttle
from wallet.errors import Overloaded, Unavailable

REQUEST: Any = SimpleNamespace(path="/charge", method="POST")


class Log:
    """Keeps the lines that are logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def debug(self, event: str, **fields: Any) -> None:
        """Refusals are of no interest here."""

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    error = warning


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    monkeypatch.setattr(error_responses, "log", log)
    return log


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (sanic_errors.NotFound("x"), 404, "not_found"),
        (sanic_errors.MethodNotAllowed("x", "PUT", ["GET"]), 405, "method_not_allowed"),
        (sanic_errors.PayloadTooLarge("x"), 413, "payload_too_large"),
        (sanic_errors.RequestTimeout("x"), 408, "request_timeout"),
        (sanic_errors.BadRequest("x"), 400, "malformed_request"),
        (sanic_errors.ServiceUnavailable("x"), 503, "overloaded"),
        (sanic_errors.ServerError("secret"), 500, "internal_error"),
        (RuntimeError("secret"), 500, "internal_error"),
        (Overloaded("the backlog is full"), 503, "overloaded"),
    ],
)
def test_each_error_becomes_a_problem(log: Log, error: Exception, status: int, code: str) -> None:
    """Goal: Sanic's errors and ours look alike, and unexpected ones reveal nothing."""
    response = ErrorResponder().respond(REQUEST, error, "id-1")
    assert response.body is not None
    problem = json.loads(response.body)
    assert (response.status, problem["status"], problem["code"]) == (status, status, code)
    assert problem["request_id"] == "id-1"
    assert "secret" not in str(problem)
    assert bool(log.lines) == (status >= 500)


def test_failures_do_not_flood_the_log(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: one line per code and second; the next one says how many were left out; refusals are none."""
    now = [100.0]
    monkeypatch.setattr(error_responses, "Throttle", lambda: Throttle(clock=lambda: now[0]))
    responder = ErrorResponder()
    for number in range(5):
        responder.respond(REQUEST, Unavailable("away"), f"u{number}")
        responder.respond(REQUEST, RuntimeError("a bug"), f"e{number}")
        responder.respond(REQUEST, sanic_errors.NotFound("x"), f"n{number}")
    assert [(fields["request_id"], fields["left_out"]) for _, fields in log.lines] == [("u0", 0), ("e0", 0)]
    now[0] += 1.1
    responder.respond(REQUEST, Unavailable("away"), "later")
    assert log.lines[-1][0] == "request_failed"
    assert (log.lines[-1][1]["code"], log.lines[-1][1]["left_out"]) == ("unavailable", 4)

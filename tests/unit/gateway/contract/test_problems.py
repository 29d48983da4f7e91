"""From errors to answers."""

import inspect

import msgspec
import pytest

import gateway.contract.problems
import wallet.errors
from gateway.contract.problem_kinds import KINDS
from gateway.contract.problems import (
    MethodNotAllowed,
    RateLimited,
    encode_problem,
    headers_of,
    problem_of,
)
from runtime.settings import SettingsError
from wallet.errors import InsufficientFunds, Overloaded, Unavailable, ValidationFailed, WalletError

ABSTRACT = {"wallet_error", "try_later"}


def codes() -> set[str]:
    modules = (wallet.errors, gateway.contract.problems)
    classes = [one for module in modules for _, one in inspect.getmembers(module, inspect.isclass)]
    return {one.code for one in classes if issubclass(one, WalletError)} - ABSTRACT


def test_every_error_has_a_status() -> None:
    """Goal: no refusal becomes a 500 because it was forgotten in the table; none stands there in vain."""
    assert codes() | {"internal_error"} == set(KINDS)


def test_a_bug_tells_nothing_of_itself() -> None:
    """Goal: no message of an unexpected error, no SQL and no setting ever reaches a client."""
    for error in (RuntimeError("select secret from wallets"), SettingsError("DATABASE_URL is postgres://x")):
        problem = problem_of(error, "r1")
        assert (problem.status, problem.code) == (500, "internal_error")
        assert b"select" not in encode_problem(problem)
        assert b"postgres" not in encode_problem(problem)


def test_shape() -> None:
    """Goal: the members of RFC 9457 and ours are there; those that say nothing are not."""
    problem = msgspec.json.decode(encode_problem(problem_of(InsufficientFunds(120, 500), "r1")))
    assert problem == {
        "type": "/problems/insufficient_funds",
        "title": "Not enough withdrawable money",
        "status": 422,
        "code": "insufficient_funds",
        "detail": "500 asked for, 120 can be withdrawn",
        "request_id": "r1",
        "amount": 500,
        "withdrawable": 120,
    }
    problem = msgspec.json.decode(encode_problem(problem_of(ValidationFailed([("a", "b")]), None)))
    assert problem["errors"] == [{"field": "a", "reason": "b"}]


@pytest.mark.parametrize(
    ("error", "name", "value"),
    [
        (Overloaded("x"), "retry-after", "1"),
        (Unavailable("x"), "retry-after", "1"),
        (RateLimited(2.2), "retry-after", "3"),
        (MethodNotAllowed("PUT", ["POST", "GET"]), "allow", "GET, POST"),
        (RuntimeError("x"), "content-type", "application/problem+json"),
    ],
)
def test_headers(error: Exception, name: str, value: str) -> None:
    """Goal: what RFC 9110 asks for goes with the answer."""
    assert headers_of(error)[name] == value

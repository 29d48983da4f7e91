"""The OpenAPI document describes exactly the served endpoints, and its examples are true."""

import importlib
import json
import pkgutil
from typing import Any

import msgspec
import pytest

from gateway import routes
from gateway.app import create_app
from gateway.contract.operation import OneOf, Operation
from gateway.contract.problem_kinds import KINDS
from runtime.settings import Settings

MODULES = [
    importlib.import_module(one.name) for one in pkgutil.walk_packages(routes.__path__, "gateway.routes.")
]
OPERATIONS = list(
    {
        one.id: one for module in MODULES for one in vars(module).values() if isinstance(one, Operation)
    }.values()
)
DOCUMENTED = [one for one in OPERATIONS if one.documented]


@pytest.fixture(scope="module")
def app() -> Any:
    return create_app(Settings.from_env({}))


@pytest.fixture(scope="module")
def document(app: Any) -> dict[str, Any]:
    described: dict[str, Any] = json.loads(app.ctx.openapi)
    return described


def served(app: Any) -> set[tuple[str, str]]:
    return {
        (method, "/" + route.path.replace("<", "{").replace(">", "}").replace(":str", ""))
        for route in app.router.routes
        for method in route.methods
        if method != "HEAD"
    }


def test_all_that_is_served_is_described(app: Any, document: dict[str, Any]) -> None:
    """Goal: no route without its description, no description without its route (pages for people apart)."""
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    hidden = {(one.method, one.path) for one in OPERATIONS if not one.documented}
    assert described | (hidden - {("POST", "/noop")}) == served(app)
    assert described & hidden == set()


def test_every_code_is_described(document: dict[str, Any]) -> None:
    """Goal: a client finds every code it may meet, with an example and the right status."""
    found = set()
    for item in document["paths"].values():
        for operation in item.values():
            for status, answer in operation["responses"].items():
                examples = answer.get("content", {}).get("application/problem+json", {}).get("examples", {})
                for code, example in examples.items():
                    assert KINDS[code].status == int(status) == example["value"]["status"]
                    found.add(code)
    everywhere = {"not_found", "method_not_allowed", "malformed_request", "expectation_failed"}
    everywhere |= {"request_timeout"}
    of_operators = {"adjustment_not_found", "not_confirmable"}
    assert found | everywhere | of_operators == set(KINDS)
    assert all(code in document["info"]["description"] for code in everywhere)


def test_retry_after_is_described(document: dict[str, Any]) -> None:
    """Goal: an answer that asks for a retry says when."""
    for item in document["paths"].values():
        for operation in item.values():
            for status in {"429", "503"} & set(operation["responses"]):
                assert "Retry-After" in operation["responses"][status]["headers"]


def model_of(kind: Any) -> Any:
    """Return what an example is of: of several models, the first."""
    return kind.kinds[0] if isinstance(kind, OneOf) else kind


@pytest.mark.parametrize("operation", DOCUMENTED, ids=lambda one: one.id)
def test_examples_are_true(operation: Operation) -> None:
    """Goal: each example fits its type, so nobody copies a request that is refused."""
    for given in operation.responses.values():
        if given.example is not None:
            msgspec.convert(json.loads(json.dumps(given.example)), model_of(given.kind))
    for kind, example in operation.body.kinds.values() if operation.body else ():
        if kind is not None:
            msgspec.json.decode(json.dumps(example).encode(), type=model_of(kind))


def test_references_lead_somewhere(document: dict[str, Any]) -> None:
    """Goal: every $ref names a schema that is there."""
    references = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                references.add(value["$ref"])
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(document)
    assert references == {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}


def test_limits_are_described(document: dict[str, Any]) -> None:
    """Goal: the limits of the types that validate are in the document, patterns in ECMAScript's spelling."""
    charge = document["components"]["schemas"]["ChargeRequest"]
    assert charge["properties"]["amount"]["maximum"] == 2**53 - 1
    assert charge["additionalProperties"] is False
    assert set(charge["required"]) == {"user_id", "amount"}
    assert "\\\\Z" not in json.dumps(document)
    parameters = document["paths"]["/transactions/{user_id}"]["get"]["parameters"]
    limit = next(one for one in parameters if one["name"] == "limit")
    assert limit["schema"] == {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}
    user = next(one for one in parameters if one["name"] == "user_id")
    assert (user["in"], user["required"]) == ("path", True)
    for path in (
        "/balance",
        "/balance/{user_id}",
    ):  # `all` has an answer of another kind, which is told elsewhere
        parameters = document["paths"][path]["get"]["parameters"]
        currency = next(one for one in parameters if one["name"] == "currency")
        assert currency["schema"] == {"type": "string", "pattern": "^[A-Z]{3}$"}


def test_login(document: dict[str, Any]) -> None:
    """Goal: the document says which scope a call needs where logins are on, and that the open ones need none."""
    assert document["paths"]["/charge"]["post"]["security"] == [{"api_key": ["charge"]}, {}]
    assert document["paths"]["/health"]["get"]["security"] == []


def test_what_every_request_may_meet(document: dict[str, Any]) -> None:
    """Goal: a generated client knows that a host, a page and a body without a type are refused."""
    for item in document["paths"].values():
        for method, operation in item.items():
            named = {
                status: set(answer["content"]["application/problem+json"]["examples"])
                for status, answer in operation["responses"].items()
                if "application/problem+json" in answer.get("content", {})
            }
            assert "host_not_allowed" in named["421"]
            assert ("cross_site" in named.get("403", ())) is (method != "get")
            assert ("unsupported_media_type" in named.get("415", ())) is ("requestBody" in operation)

"""The Python client against the OpenAPI document: each operation for integrators, each parameter, each member."""

import inspect
import json
import re
import sys
import tomllib
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin
from uuid import UUID

import httpx
import msgspec
import pytest

from gateway.app import create_app
from runtime.settings import Settings
from wbs_client import (
    AsyncClient,
    Client,
    endpoints,
    enumerations,
    event_models,
    events,
    models,
    orders,
    reads,
    results,
    webhook_models,
    writes,
)
from wbs_client.call import Call, Listing

ROOT = Path(__file__).parents[2]
NOT_FOR_INTEGRATORS = {
    *("getLiveness", "getReadiness", "getMetrics"),  # probes, monitors
    *("getOpenApi", "getProblem"),  # for people and generators
    "receiveBankCallback",
    *("findBalance", "findTransactions"),  # the same as getBalance and listTransactions
}
SENT_BY_THE_CLIENT = {"X-Request-Id", "Idempotency-Key", "Accept", "Last-Event-ID", "limit", "cursor", "page"}
"""Parameters that no method has: lists are read to their ends, keys go in the body."""
ID = UUID("0199d3c0-8b2f-7d10-8000-5be1c0ffee01")
VALUES: dict[str, Any] = {"user_id": 42, "from_user_id": 42, "items": [], "idempotency_key": "k", "amount": 5}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The gateway's document."""
    described: dict[str, Any] = json.loads(create_app(Settings.from_env({})).ctx.openapi)
    return described


def builders() -> dict[str, Any]:
    """Return the functions behind the methods, by name."""
    found = {
        name: getattr(Client, name).__wrapped__
        for name in vars(Client)
        if hasattr(getattr(Client, name), "__wrapped__")
    }
    assert len(found) > 30
    return found


def built(build: Any) -> Call[Any]:
    """Return the call that a function makes of its required arguments."""
    required = [one for one in inspect.signature(build).parameters.values() if one.default is one.empty]
    given = {one.name: VALUES.get(one.name, ID) for one in required}
    call = build(**given)
    if isinstance(call, events.Following):
        return call.call
    return call.first if isinstance(call, Listing) else call


def operations(document: dict[str, Any]) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Return method, path and description of each operation for integrators, by its id."""
    return {
        one["operationId"]: (method.upper(), path, one)
        for path, item in document["paths"].items()
        for method, one in item.items()
        if one["operationId"] not in NOT_FOR_INTEGRATORS and not path.startswith("/operator/")
    }


def test_each_operation_has_a_method(document: dict[str, Any]) -> None:
    """Goal: what an integrator can call, a Python program can; by the document's method and path."""
    asked = operations(document)
    calls = {name: built(build) for name, build in builders().items()}
    assert {call.operation for call in calls.values()} == set(asked)
    for name, call in calls.items():
        method, path, _ = asked[call.operation]
        assert call.method == method, name
        assert re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)), call.path), name
    assert not NOT_FOR_INTEGRATORS - {
        one["operationId"] for item in document["paths"].values() for one in item.values()
    }


def test_both_clients_are_the_same() -> None:
    """Goal: whoever knows one client knows the other: same methods, same parameters, same descriptions."""
    assert "user_id" in inspect.signature(Client.charge).parameters
    assert next(iter(inspect.signature(Client.charge).parameters)) == "self"
    for name in builders():
        one, other = getattr(Client, name), getattr(AsyncClient, name)
        assert inspect.signature(one) == inspect.signature(other), name
        assert one.__doc__ == other.__doc__
        assert one.__doc__
    public = {
        name
        for module in (reads, writes, events, endpoints)
        for name, one in vars(module).items()
        if _is_operation(one, module)
    }
    assert public - {"watch_withdrawal"} == set(builders())


def _is_operation(one: Any, module: Any) -> bool:
    return inspect.isfunction(one) and one.__module__ == module.__name__ and not one.__name__.startswith("_")


def test_each_parameter_is_there(document: dict[str, Any]) -> None:
    """Goal: no parameter or member of a body can be given to the API and not to the client, or the other way."""
    schemas = document["components"]["schemas"]
    parameters: dict[str, set[str]] = {}
    for build in builders().values():
        names = {name.rstrip("_") for name in inspect.signature(build).parameters}
        parameters.setdefault(built(build).operation, set()).update(names)
    for operation, (_, path, described) in operations(document).items():
        wanted = {one["name"] for one in described["parameters"]} - SENT_BY_THE_CLIENT
        for content in described.get("requestBody", {}).get("content", {}).values():
            wanted |= members(content["schema"], schemas)
        missing = wanted - parameters[operation]
        assert not missing, f"{operation} {path}: {missing}"
        unknown = parameters[operation] - wanted - {"limit", "cursor", "items"}
        assert not unknown, f"{operation} {path}: {unknown}"


def members(schema: dict[str, Any], schemas: dict[str, Any]) -> set[str]:
    """Return the members of a body; an array's are those of its model (tests below)."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    choices = schema.get("oneOf", [])
    return set(schema.get("properties", {})).union(*(members(one, schemas) for one in choices))


MODELS = {
    name: kind
    for module in (models, event_models, webhook_models, orders, results)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and not name.startswith("_")
}
ENUMERATIONS = {
    name: kind
    for name, kind in {**vars(enumerations), **vars(event_models), **vars(webhook_models)}.items()
    if isinstance(kind, type) and issubclass(kind, StrEnum)
}
OWN = {"Model", "Order", "Page", "Event"}


def test_models_are_the_documents(document: dict[str, Any]) -> None:
    """Goal: a model has the members of the schema of its name, and can be missing what that allows to be missing."""
    schemas = document["components"]["schemas"]
    for name in sorted(set(MODELS) - OWN):
        fields = msgspec.structs.fields(MODELS[name])
        assert {field.encode_name for field in fields} == set(schemas[name]["properties"]), name
        required = {field.encode_name for field in fields if field.required}
        assert required <= set(schemas[name].get("required", ())), name
        for field in fields:
            allowed = accepts_none(field.type) or not field.required
            described = schemas[name]["properties"][field.encode_name]
            assert allowed or not nullable(described, schemas), f"{name}.{field.name}"


def accepts_none(kind: Any) -> bool:
    """Tell whether a value of this type may be None."""
    return get_origin(kind) in (Union, UnionType) and type(None) in get_args(kind)


def nullable(schema: dict[str, Any], schemas: dict[str, Any]) -> bool:
    """Tell whether a schema allows null."""
    if "$ref" in schema:
        return nullable(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    return schema.get("type") == "null" or any(nullable(one, schemas) for one in schema.get("anyOf", []))


def test_enumerations_are_the_documents(document: dict[str, Any]) -> None:
    """Goal: each value that the document names has a name in Python, and a new one breaks nothing."""
    schemas = document["components"]["schemas"]
    known = {name: kind for name, kind in ENUMERATIONS.items() if name not in ("StrEnum", "Open")}
    assert len(known) >= 7
    for name, kind in known.items():
        assert {one.value for one in kind} == set(schemas[name]["enum"]), name
        new = msgspec.json.decode(b'"some_new_value"', type=kind)
        assert new == "some_new_value"
        assert repr(new)


def test_examples_are_read(document: dict[str, Any]) -> None:
    """Goal: the answers that the document shows are read by the methods, also with members that nobody knows yet."""
    for build in builders().values():
        call = built(build)
        _, _, described = operations(document)[call.operation]
        good = next(answer for status, answer in described["responses"].items() if status[0] == "2")
        example = good.get("content", {}).get("application/json", {}).get("example")
        if call.accept != "application/json" or not example:
            continue
        if "items" in example and build.__name__.startswith("find_"):
            example = example["items"][0]
        if build.__name__ == "transfer_many":
            continue
        answer = call.read(
            httpx.Response(200, content=msgspec.json.encode({**example, "new": {"member": 1}}))
        )
        assert answer is not None


def test_times_keep_their_offset() -> None:
    """Goal: a time in a query is RFC 3339 with its offset."""
    call = reads.balance("a/b ?%", at=datetime(2026, 1, 2, 3, tzinfo=UTC))
    assert call.params == {"at": "2026-01-02T03:00:00+00:00"}
    assert call.path == "/balance/a%2Fb%20%3F%25"


def test_it_imports_only_what_it_declares() -> None:
    """Goal: the package needs what its pyproject.toml says, and is of a version of its own."""
    project = tomllib.loads((ROOT / "clients" / "python" / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[<>=]", one)[0] for one in project["dependencies"]}
    found: set[str] = set()
    for path in (ROOT / "clients" / "python" / "src").rglob("*.py"):
        found |= set(re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE))
    assert found - set(sys.stdlib_module_names) - {"wbs_client"} == declared

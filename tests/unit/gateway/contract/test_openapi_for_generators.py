"""The OpenAPI document is what generators of clients need: names that read, schemas with names, nothing of Python."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.app import create_app
from runtime.settings import Settings
from tests import story

MODES = ("auto", "string", "integer")
VERBS = (
    "cancel",
    "capture",
    "create",
    "delete",
    "find",
    "get",
    "list",
    "receive",
    "redeliver",
    "reverse",
    "rotate",
    "update",
    "stream",
    "test",
    "void",
)
REF = "#/components/schemas/"


def document_of(mode: str) -> dict[str, Any]:
    described: dict[str, Any] = json.loads(create_app(Settings.from_env({"WBS_USER_IDS": mode})).ctx.openapi)
    return described


DOCUMENTS = {mode: document_of(mode) for mode in MODES}
DOCUMENT = DOCUMENTS["auto"]
OPERATIONS = {one["operationId"]: (path, method, one) for path, method, one in story.operations(DOCUMENT)}


def nodes(value: Any, *way: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each value in a document with the way to it, examples apart."""
    yield way, value
    if isinstance(value, dict):
        for name, item in value.items():
            if name not in ("example", "examples"):
                yield from nodes(item, *way, name)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from nodes(item, *way, str(number))


def test_operations_have_names_that_read() -> None:
    """Goal: a generated client has `cancelWithdrawal(…)`: a verb that is one of few, then a noun; no name twice."""
    assert len(OPERATIONS) == len(story.operations(DOCUMENT))
    for name in OPERATIONS:
        assert re.fullmatch(rf"({'|'.join(VERBS)})([A-Z][a-z]+)+", name), name


@pytest.mark.parametrize("name", OPERATIONS)
def test_bodies_have_names(name: str) -> None:
    """Goal: whatever is sent or answered as JSON is a type with a name in a generated client."""
    _, _, operation = OPERATIONS[name]
    for part in (operation.get("requestBody", {}), *operation["responses"].values()):
        for kind, content in part.get("content", {}).items():
            assert content["schema"].get("$ref", "").startswith(REF) is (kind in story.JSON), kind


def test_no_schema_is_named_as_one_of_its_fields() -> None:
    """Goal: `Wallets` has no field `wallets`: openapi-python-client would mix up the two."""
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert re.sub(r"(?<=.)([A-Z])", r"_\1", name).lower() not in schema.get("properties", ())


def test_enumerations_have_names() -> None:
    """Goal: an enumeration is one type in a client, whatever number of fields holds it."""
    for way, value in nodes(DOCUMENT):
        if isinstance(value, dict) and "enum" in value:
            assert way[:2] == ("components", "schemas"), way
            assert len(way) == 3, way
            assert value["type"] == "string"
    assert {"WithdrawalStatus", "TransactionKind", "ProblemCode"} <= set(DOCUMENT["components"]["schemas"])


def test_instants_are_instants() -> None:
    """Goal: no instant is a mere string, in any response or request."""
    found = 0
    for way, value in nodes(DOCUMENT):
        if way[-2:-1] == ("properties",) and re.search(r"(^|_)(at|from|to)$", way[-1]):
            schemas = value.get("anyOf", [value])
            assert any(schema.get("format") == "date-time" for schema in schemas), way
            found += 1
    assert found > 5


def test_optional_fields_have_no_default() -> None:
    """Goal: a field that may be left out is optional, not null by default; a response's fields have no default."""
    schemas = DOCUMENT["components"]["schemas"]
    named = ("properties", "default")  # a field of that name
    assert not [way for way, _ in nodes(schemas) if way[-1:] == ("default",) and way[-2:] != named]
    assert "request_id" not in schemas["Problem"]["required"]
    assert schemas["Problem"]["properties"]["request_id"] == {"type": "string"}
    assert "reasons" in schemas["Health"]["required"]


def test_free_objects_are_free() -> None:
    """Goal: an object has fields or takes any: no client refuses somebody's metadata."""
    for way, value in nodes(DOCUMENT["components"]["schemas"]):
        if isinstance(value, dict) and value.get("type") == "object" and "properties" not in value:
            assert value["additionalProperties"] is True or "$ref" in value["additionalProperties"], way
    for name in ("ChargeRequest", "Transaction"):
        metadata = DOCUMENT["components"]["schemas"][name]["properties"]["metadata"]
        assert metadata["anyOf"] == [{"$ref": f"{REF}Metadata"}, {"type": "null"}]


@pytest.mark.parametrize("name", OPERATIONS)
def test_whoever_reads_can_try(name: str) -> None:
    """Goal: each parameter that is required has an example, each identifier comes from an earlier answer's link."""
    path, _, operation = OPERATIONS[name]
    given = set()
    for _, _, earlier in story.operations(DOCUMENT):
        if earlier is operation:
            break
        for response in earlier["responses"].values():
            for link in response.get("links", {}).values():
                if link["operationId"] == name:
                    given |= set(link["parameters"])
    for parameter in operation["parameters"]:
        assert "example" in parameter or not parameter["required"] or name in story.NOT_OURS_TO_SEND
        if parameter["schema"].get("format") == "uuid" and parameter["in"] == "path":
            assert parameter["name"] in given, f"no response before {path} gives {parameter['name']}"


def test_links_lead_somewhere() -> None:
    """Goal: whatever a link names is a member that the answer always has, and a parameter that is there."""
    for _, _, operation in story.operations(DOCUMENT):
        for response in operation["responses"].values():
            for link in response.get("links", {}).values():
                _, _, target = OPERATIONS[link["operationId"]]
                schema = response["content"]["application/json"]["schema"]
                named = DOCUMENT["components"]["schemas"][schema["$ref"].removeprefix(REF)]
                name = named.get("oneOf", [schema])[0]["$ref"].removeprefix(REF)
                for parameter, expression in link["parameters"].items():
                    member = expression.removeprefix("$response.body#/")
                    assert member in DOCUMENT["components"]["schemas"][name]["required"]
                    assert parameter in {one["name"] for one in target["parameters"]}


@pytest.mark.parametrize("mode", MODES)
def test_users_are_what_the_setting_says(mode: str) -> None:
    """Goal: a user id is one named type, everywhere; examples spell it as it has to be."""
    document = DOCUMENTS[mode]
    found = 0
    for way, value in nodes(document):
        is_field = way[-2:-1] == ("properties",) and way[-1].endswith("user_id")
        is_parameter = isinstance(value, dict) and value.get("name", "").endswith("user_id") and "in" in value
        if is_field or is_parameter:
            assert (value["schema"] if is_parameter else value)["$ref"] == f"{REF}UserId", way
            found += 1
    assert found >= 10
    types = {"auto": None, "string": "string", "integer": "integer"}
    assert document["components"]["schemas"]["UserId"].get("type") == types[mode]
    for _, schema, example in story.examples(document):
        story.validator(document, schema).validate(example)


PYTHON = re.compile(
    r"\b(None|True|False|msgspec|sanic|asyncpg|datetime|UUID|dict|tuple|Python)\b|\b_[A-Za-z]"
)


def test_nothing_of_python_shows() -> None:
    """Goal: no word of the document is Python's or the name of one of our classes or modules."""
    packages = "|".join(("wallet", "runtime", "db", "gateway", "actors", "ops"))
    ours = re.compile(rf"\b({packages})\.[a-z_]+\b|\b[A-Z][a-z]+([A-Z][a-z]+)+\b")
    allowed = {*DOCUMENT["components"]["schemas"], "OpenApi", "RateLimit", "JavaScript"}
    for way, value in nodes(DOCUMENT):
        for text in (*way[-1:], *([value] if isinstance(value, str) else [])):
            assert not PYTHON.search(text), (way, text)
            if way[-1:] != ("$ref",):
                words = {match[0] for match in ours.finditer(text)}
                assert words <= allowed, (way, words)
    assert not [
        name for name in DOCUMENT["components"]["schemas"] if not re.fullmatch("([A-Z][a-z]+)+", name)
    ]

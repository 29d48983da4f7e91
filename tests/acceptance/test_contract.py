"""The service keeps to its own OpenAPI document: generated requests, good and bad, and the documented examples."""

import json
from typing import Any
from uuid import uuid4

import hypothesis
import jsonschema_rs
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from ops.local.stack import Stack
from tests.service import Service, make_whole

CALL_TIMEOUT_S = 30.0
SETTINGS = hypothesis.settings(
    # Each is a request; HYPOTHESIS_PROFILE=thorough makes a hundred of each kind for each operation.
    max_examples=hypothesis.settings.default.max_examples // 20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def api_schema(stack: Stack) -> BaseSchema:
    """The document that the running service gives out."""
    make_whole(stack)
    return schemathesis.openapi.from_url(f"{stack.urls['api']}/openapi.json", timeout=CALL_TIMEOUT_S)


@pytest.fixture(scope="module")
def session() -> Any:
    """Connections that are used again."""
    with requests.Session() as session:
        yield session


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_whatever_is_sent_the_answer_is_as_documented(
    api_schema: BaseSchema, session: requests.Session, subtests: pytest.Subtests, mode: GenerationMode
) -> None:
    """Goal: no request gets an undocumented status, header or body; good ones are taken, bad ones refused."""

    def send(case: Any) -> None:
        # What a schema can't say: two fields that need each other, money that is not there.
        excluded = [positive_data_acceptance]
        in_bulk = (case.operation.path, mode) == ("/charges", GenerationMode.NEGATIVE)
        if in_bulk:
            excluded.append(negative_data_rejection)  # a bad item is refused alone
        answer = case.call_and_validate(session=session, timeout=CALL_TIMEOUT_S, excluded_checks=excluded)
        if in_bulk and answer.status_code == 200 and case.media_type == "application/json":
            assert {result["status"] for result in answer.json()["results"]} != {200}

    # Not by schemathesis' own pytest plugin, which sets `_nodeid`: pytest 9.1 has none any more.
    for operation in [result.ok() for result in api_schema.get_all_operations()]:
        inputs = (operation.query, operation.path_parameters, operation.body)
        if mode is GenerationMode.NEGATIVE and not any(map(len, inputs)):
            continue  # nothing in it can be wrong
        generated = hypothesis.given(operation.as_strategy(generation_mode=mode))(send)
        with subtests.test(operation.label):
            try:
                SETTINGS(generated)()
            except Unsatisfiable:  # nothing in this operation can be wrong
                assert mode is GenerationMode.NEGATIVE


async def test_documented_requests_work(service: Service) -> None:
    """Goal: each request in the document can be copied and sent; its answer is what stands beside it."""
    document = (await service.call("GET", "/openapi.json")).json
    tried = []
    for path, method, operation in operations(document):
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            if path == "/bank/callbacks":  # only the bank can sign one
                continue
            body = fresh(content["example"], service.user)
            if path == "/withdraw":
                await service.charge(body["amount"], user=body["user_id"])
            sent = body if isinstance(body, str) else json.dumps(body)
            answer = await service.call(method, path, data=sent, headers={"content-type": kind})
            [documented] = [status for status in operation["responses"] if status.startswith("2")]
            assert answer.status == int(documented), answer.body
            assert_valid(document, operation["responses"][documented], answer.json)
            if path == "/charges":
                assert {result["status"] for result in answer.json["results"]} == {200}
            tried.append((path, kind))
    assert len(tried) == 4


async def test_documented_examples_are_valid(service: Service) -> None:
    """Goal: every example in the document, of requests, answers and refusals, fits its schema."""
    document = (await service.call("GET", "/openapi.json")).json
    checked = 0
    for _, _, operation in operations(document):
        parts = [operation.get("requestBody", {}), *operation["responses"].values()]
        for content in (content for part in parts for content in part.get("content", {}).values()):
            named = [example["value"] for example in content.get("examples", {}).values()]
            for example in [*named, *([content["example"]] if "example" in content else [])]:
                validator(document, content["schema"]).validate(example)
                checked += 1
    assert checked > 50


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return path, method and description of each operation."""
    return [(path, method, one) for path, item in document["paths"].items() for method, one in item.items()]


def fresh(example: Any, user: str) -> Any:
    """Return an example with a key and a user that no other test uses."""
    if isinstance(example, str):
        return "".join(json.dumps(fresh(json.loads(line), user)) + "\n" for line in example.splitlines())
    if isinstance(example, list):
        return [fresh(item, user) for item in example]
    return {**example, "idempotency_key": uuid4().hex, "user_id": user}


def assert_valid(document: dict[str, Any], answer: dict[str, Any], body: Any) -> None:
    """Assert that a body fits what is documented for it."""
    validator(document, answer["content"]["application/json"]["schema"]).validate(body)


def validator(document: dict[str, Any], schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    """Return what validates against a schema that refers to others in the document."""
    return jsonschema_rs.Draft202012Validator({**schema, "components": document["components"]})

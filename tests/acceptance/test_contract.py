"""The service keeps to its own OpenAPI document: generated requests, good and bad, and the documented examples."""

from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from ops.local.stack import Stack
from tests import story
from tests.service import Service, make_whole

CALL_TIMEOUT_S = 30.0
SETTINGS = hypothesis.settings(
    # Each is a request; HYPOTHESIS_PROFILE=thorough makes a hundred of each kind for each operation.
    max_examples=hypothesis.settings().max_examples // 20,
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
    """Goal: no request gets an undocumented status, header or body; good ones are taken, bad ones refused.

    A stream of events, which never ends and is no one text, is sent bad requests only. What it answers to good ones is
    the matter of tests/integration/gateway/test_events.py.
    """

    def send(case: Any) -> None:
        # What a schema can't say: two fields that need each other, money that is not there.
        excluded = [positive_data_acceptance]
        in_bulk = case.operation.path in ("/charges", "/transfers") and mode is GenerationMode.NEGATIVE
        if in_bulk:
            excluded.append(negative_data_rejection)  # a bad item is refused alone
        answer = case.call_and_validate(session=session, timeout=CALL_TIMEOUT_S, excluded_checks=excluded)
        if in_bulk and answer.status_code == 200 and "results" in answer.json():
            assert {result["status"] for result in answer.json()["results"]} != {200}

    # Not by schemathesis' own pytest plugin, which sets `_nodeid`: pytest 9.1 has none any more.
    for result in api_schema.get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()
        if mode is GenerationMode.POSITIVE and story.never_ends(operation.definition.raw):
            continue
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
    """Goal: each request in the document can be sent as it is, from top to bottom, on a stack that pays out."""
    document = (await service.call("GET", "/openapi.json")).json
    for step in await story.told(document, service.call):
        # Here the bank is faster than whoever wants to cancel. (Without one: tests/integration/gateway/test_story.py.)
        story.check(document, step, *((409,) if step.id == "cancelWithdrawal" else ()))
        if step.id == "createCharges":
            assert {result["status"] for result in step.answer.json["results"]} == {200}


async def test_documented_examples_are_valid(service: Service) -> None:
    """Goal: every example in the document, of parameters, requests, answers and refusals, fits its schema."""
    document = (await service.call("GET", "/openapi.json")).json
    checked = 0
    for _, schema, example in story.examples(document):
        story.validator(document, schema).validate(example)
        checked += 1
    assert checked > 50

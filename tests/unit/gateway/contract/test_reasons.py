"""What a client is told of values that were refused."""

import json
import re
from typing import Any

import msgspec
import pytest

from gateway.contract.operation import OneOf
from gateway.contract.operator_requests import (
    PauseRequest,
    ReplayRequest,
    SettleRequest,
    read_request,
)
from gateway.contract.parameters import ParameterReader
from gateway.contract.request_errors import explain
from gateway.contract.request_models import ReverseTransferRequest, TransferRequest
from gateway.contract.user_ids import UserIds, fitted
from gateway.routes.callbacks import read_callback
from tests.unit.gateway.contract.test_openapi import OPERATIONS
from wallet.errors import ValidationFailed

PYTHON = re.compile(
    r"`|regex|\\|RFC3339|[Tt]imezone|Object |Invalid|Expected"
    r"|\b(int|float|str|bool|uuid|datetime|None|msgspec|Struct)\b"
)
"""Words that only who knows Python, or the library that reads JSON, understands."""
NAME = re.compile(r"[\w$]{1,64}")

_BASE: dict[str, Any] = {"to_user_id": "a", "amount": 1, "leg": 1}
VALUES: list[Any] = [
    *(5, -5, 1.5, 10**30, "", " ", "x\n", "1", True, None, {}, {"a": 5}),
    *([], [5], [{}], [None] * 600, ["x"], [{**_BASE, "amount": 1.5}]),
    *([{"to_user_id": "a", "amount": 1, "release_at": at}] for at in ("x", "2030-01-01T00:00:00", 5)),
    *([{"to_user_id": user_id, "amount": 1}] for user_id in ("é", 1.5, True)),
]


def _bodies() -> list[Any]:
    kinds: list[Any] = []
    for operation in OPERATIONS:
        for kind, _ in (operation.body.kinds if operation.body else {}).values():
            for one in kind.kinds if isinstance(kind, OneOf) else (kind,):
                if isinstance(one, type) and issubclass(one, msgspec.Struct) and one not in kinds:
                    kinds.append(one)
    return kinds


BODIES = _bodies()
QUERIES = list({one.query for one in OPERATIONS if one.query is not None})


def _reasons(error: Exception) -> list[tuple[str, str]]:
    return list(error.errors) if isinstance(error, ValidationFailed) else []


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("user_ids", UserIds)
def test_of_bodies(kind: type[msgspec.Struct], user_ids: UserIds) -> None:
    """Goal: each field says in plain words what is wrong with it, whatever it is given."""
    fields = msgspec.structs.fields(fitted(kind, user_ids))
    for value in VALUES:
        body = json.dumps({"no field": 1} | {one.encode_name: value for one in fields}).encode()
        for name, reason in _reasons(explain(body, fitted(kind, user_ids), ())):
            assert not PYTHON.search(reason), (name, value, reason)


@pytest.mark.parametrize("kind", [PauseRequest, ReplayRequest, SettleRequest])
def test_of_what_operators_do(kind: type[msgspec.Struct]) -> None:
    """Goal: so it is where the first error is the only one that is told."""
    for field in msgspec.structs.fields(kind):
        for value in VALUES:
            for body in ({field.encode_name: value}, value):
                try:
                    read_request(kind, json.dumps(body).encode())
                except ValidationFailed as refused:
                    [(name, reason)] = refused.errors
                    assert NAME.fullmatch(name)
                    assert not PYTHON.search(reason), (name, value, reason)


@pytest.mark.parametrize(
    ("body", "field"),
    [(b"[]", "$"), (b"{}", "$"), (b'{"type": "t", "data": {"reference": 5}}', "data.reference")],
)
def test_of_callbacks(body: bytes, field: str) -> None:
    """Goal: so it is for banks."""
    with pytest.raises(ValidationFailed) as refused:
        read_callback(body)
    [(name, reason)] = refused.value.errors
    assert name == field
    assert not PYTHON.search(reason), reason


@pytest.mark.parametrize("kind", QUERIES)
def test_of_parameters(kind: type[msgspec.Struct]) -> None:
    """Goal: so it is in query strings, where a null is nothing that could be given."""
    for field in msgspec.structs.fields(kind):
        for text in ("x", "1e3", "1.5", "-1", "", "%00", "true", "9" * 40, "2026", "%C3%A9", "null", "[]"):
            try:
                ParameterReader(kind, UserIds.AUTO).read(f"{field.encode_name}={text}")
            except ValidationFailed as refused:
                for _, reason in refused.errors:
                    assert not PYTHON.search(reason.replace("must be one of", "")), (field.name, text, reason)
                    assert "null" not in reason


@pytest.mark.parametrize(
    ("kind", "given", "reason"),
    [
        (
            TransferRequest,
            {"amount": 1.5},
            "must be an integer or null, got a number with a fraction or an exponent",
        ),
        (TransferRequest, {"legs": 5}, "must be an array or null, got an integer"),
        (TransferRequest, {"legs": [5]}, "item 1 must be an object, got an integer"),
        (TransferRequest, {"legs": [{}]}, "item 1 must have the field to_user_id"),
        (
            ReverseTransferRequest,
            {"legs": [{"leg": 1, "amount": 1}, {"a": 1}]},
            "item 2 must not have the field a",
        ),
        (
            TransferRequest,
            {"legs": [{"to_user_id": "a", "amount": "1"}]},
            "amount of item 1 must be an integer, got a string",
        ),
        (
            TransferRequest,
            {"release_at": "tomorrow"},
            "must be a date and time as RFC 3339 has it, with an offset",
        ),
    ],
)
def test_words(kind: type[msgspec.Struct], given: dict[str, Any], reason: str) -> None:
    """Goal: the words say what is asked for, and of a list which item it is."""
    [name] = given
    assert (name, reason) in _reasons(explain(json.dumps(given).encode(), kind, ()))

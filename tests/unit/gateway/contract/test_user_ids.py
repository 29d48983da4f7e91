"""User ids: what WBS_USER_IDS allows in requests, and how responses spell them."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect

from gateway.contract import request_models
from gateway.contract.parameters import BalanceQuery, ParameterReader
from gateway.contract.user_ids import UserIds, fitted
from wallet.errors import ValidationFailed
from wallet.money import AMOUNT_MAX

REQUESTS = [
    one
    for name, one in vars(request_models).items()
    if isinstance(one, type) and issubclass(one, msgspec.Struct) and name.endswith("Request")
]
KINDS = {UserIds.STRING: {inspect.StrType}, UserIds.INTEGER: {inspect.IntType}}


def user_id_types(node: Any, name: str = "") -> set[type]:
    """Return the kinds of values that the user ids in a type may be, at any depth."""
    if isinstance(node, inspect.StructType):
        return set().union(*(user_id_types(field.type, field.name) for field in node.fields))
    if isinstance(node, inspect.IntType | inspect.StrType):
        return {type(node)} if name.endswith("user_id") else set()
    parts = [getattr(node, part) for part in node.__struct_fields__]
    inner = [one for part in parts for one in (part if isinstance(part, tuple) else (part,))]
    return set().union(*(user_id_types(one, name) for one in inner if isinstance(one, inspect.Type)))


@pytest.mark.parametrize("kind", REQUESTS, ids=lambda kind: kind.__name__)
def test_every_request_is_fitted(kind: type[msgspec.Struct]) -> None:
    """Goal: no user id in any request, at any depth, can be of the other kind; all else stays."""
    named = bool(user_id_types(inspect.type_info(kind)))
    for mode, kinds in KINDS.items():
        model = fitted(kind, mode)
        assert user_id_types(inspect.type_info(model)) == (kinds if named else set())
        assert issubclass(model, kind)
        assert [field.name for field in msgspec.structs.fields(model)] == list(kind.__struct_fields__)
        optional = {field.name for field in msgspec.structs.fields(kind) if not field.required}
        assert {field.name for field in msgspec.structs.fields(model) if not field.required} == optional
        with pytest.raises(msgspec.ValidationError, match="unknown field"):
            msgspec.json.decode(b'{"no_such_field": 1}', type=model)
    assert fitted(kind, UserIds.AUTO) is kind


@given(st.integers(0, AMOUNT_MAX * 3) | st.sampled_from([0, AMOUNT_MAX - 1, AMOUNT_MAX, AMOUNT_MAX + 1]))
def test_integers_in_paths(number: int) -> None:
    """Goal: a path may name each integer that a body may, and no other; it comes back as that integer."""
    reader = ParameterReader(BalanceQuery, UserIds.INTEGER)
    if number > AMOUNT_MAX:
        with pytest.raises(ValidationFailed, match="must be an integer from 0 to"):
            reader.read("", user_id=str(number))
    else:
        assert UserIds.INTEGER.back(reader.read("", user_id=str(number)).user_id) == number


@given(st.from_regex(r"[!-~]{1,20}", fullmatch=True) | st.integers(0, AMOUNT_MAX * 2).map(str))
def test_users_come_back_as_they_went(user_id: str) -> None:
    """Goal: whatever was sent names the same user when it comes back, spelled as the setting has it."""
    assert UserIds.STRING.back(user_id) == user_id
    for mode in (UserIds.AUTO, UserIds.INTEGER):
        back = mode.back(user_id)
        assert str(back) == user_id
        assert isinstance(back, int) == (
            user_id.isdecimal() and str(int(user_id)) == user_id and int(user_id) <= AMOUNT_MAX
        )


def test_examples_are_spelled() -> None:
    """Goal: an example written with integers is spelled as the setting has it, at any depth, users only."""
    example = {
        "user_id": 42,
        "amount": 5,
        "legs": [{"to_user_id": 43, "amount": 5}],
        "metadata": {"order": 1},
    }
    assert UserIds.STRING.example(example) == {
        "user_id": "42",
        "amount": 5,
        "legs": [{"to_user_id": "43", "amount": 5}],
        "metadata": {"order": 1},
    }
    assert UserIds.AUTO.example(example) == UserIds.INTEGER.example(example) == example

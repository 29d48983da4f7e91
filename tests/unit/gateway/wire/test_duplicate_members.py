"""A member named twice is refused at any depth, because nobody knows which of the two was meant."""

import asyncio
import json
from random import Random
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from gateway.contract.user_ids import UserIds
from gateway.routes.callbacks import read_callback
from gateway.wire.auth import NOBODY
from gateway.wire.request_reader import RequestReader
from tests.json_spellings import spelled
from wallet.commands import Charge
from wallet.errors import FIELDS_MAX, ValidationFailed

READER = RequestReader("USD", UserIds.AUTO)

VALUES: dict[str, list[str]] = {
    "user_id": ["42", '"ann"', '"a,b:{"'],
    "amount": ["1", "100"],
    "idempotency_key": ['"k"', '"a\\"b"', "null"],
    "currency": ['"USD"', "null"],
    "release_at": ['"2030-01-01T00:00:00Z"', "null"],
    "metadata": [
        '{"a":1}',
        '{"a":"b","c":{"a":"\\""}}',
        '{"a":{"b":1,"\\u0062":2}}',
        '{"a":1,"a":1}',
        "{}",
        "null",
    ],
    "destination": ['"DE"', '{"iban":"DE"}', '{"iban":"A","iban":"B"}', "{}", "null"],
}
NEEDED = ("user_id", "amount", "idempotency_key")
TWICE_INSIDE = (VALUES["metadata"][2], VALUES["metadata"][3], VALUES["destination"][2])


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, bool, bool]:
    """A body as text, whether it is a withdrawal's, and whether a member is named twice in it."""
    withdraw = draw(st.booleans())
    names = [name for name in VALUES if name != ("release_at" if withdraw else "destination")]
    given_names = [*NEEDED, *draw(st.lists(st.sampled_from(names), max_size=4))]
    random: Random = draw(st.randoms(use_true_random=False))
    members = [(name, random.choice(VALUES[name])) for name in given_names]
    random.shuffle(members)
    twice = len(set(given_names)) < len(given_names) or any(text in TWICE_INSIDE for _, text in members)
    plain = random.random() < 0.5  # as most clients write
    written = [(json.dumps(name) if plain else spelled(name, random)) + ":" + text for name, text in members]
    return "{" + ("," if plain else " ,\n").join(written) + "}", withdraw, twice


@given(bodies())
def test_counting_quotes_finds_what_reading_every_name_finds(drawn: tuple[str, bool, bool]) -> None:
    """Goal: a body is refused for a member named twice exactly if there is one."""
    text, withdraw, twice = drawn
    event(f"twice: {twice}")
    read = READER.withdraw if withdraw else READER.charge
    errors: list[tuple[str, str]] = []
    try:
        read(text.encode(), NOBODY, ["k"])
    except ValidationFailed as refused:
        errors = refused.errors
    assert any("twice" in reason for _, reason in errors) is twice, (text, errors)
    if not twice:
        assert {field for field, _ in errors} <= {"idempotency_key"}  # another one in the header


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ('"amount":1', "amount"),
        ('"\\u0061mount":1', "amount"),
        ('"user_id":"other"', "user_id"),
        ('"idempotency_key":"k"', "idempotency_key"),
        ('"idempotency_key":null', "idempotency_key"),
        ('"release_at":"2031-01-01T00:00:00Z","release_at":null', "release_at"),
        ('"currency":null,"currency":null', "currency"),
        ('"metadata":{},"metadata":{}', "metadata"),
        ('"metadata":{"a":1,"a":1}', "metadata"),
        ('"metadata":{"a":[[{"b":{"c":1,"d":2,"\\u0063":3}}]]}', "metadata"),
        ('"other":1,"other":2', "other"),
    ],
)
def test_it_is_named(more: str, field: str) -> None:
    """Goal: the client is told which member it is."""
    raw = f'{{"user_id":"ann","amount":100,"idempotency_key":"k",{more}}}'
    with pytest.raises(ValidationFailed) as refused:
        READER.charge(raw.encode(), NOBODY)
    assert {name for name, _ in refused.value.errors} == {field}
    assert "twice" in refused.value.errors[0][1]


def test_items_of_a_bulk_request() -> None:
    """Goal: an item with a member named twice is refused alone, in an array as in lines."""
    items = [
        f'{{"user_id":1,"amount":1,"idempotency_key":"a"{more}}}'
        for more in ("", ',"amount":2', ',"\\u0061mount":2', "")
    ]
    in_array = asyncio.run(READER.charges(f"[{','.join(items)}]".encode(), NOBODY))
    in_lines = asyncio.run(READER.charge_lines("\n".join(items).encode(), NOBODY))
    for read in (in_array, in_lines):
        assert [type(one) for one in read] == [Charge, ValidationFailed, ValidationFailed, Charge]
    # What is too much in one item is not made up for by what lacks in another.
    mixed = [
        '{"user_id":1,"amount":1,"amount":1,"idempotency_key":"a"}',
        '{"user_id":1,"amount":1,"idempotency_key":null}',
    ]
    assert {type(one) for one in asyncio.run(READER.charges(f"[{','.join(mixed)}]".encode(), NOBODY))} == {
        ValidationFailed
    }


@pytest.mark.parametrize(
    ("amounts", "named"),
    [
        ('"amount":400', None),
        ('"amount":400,"amount":4', "amount"),
        ('"amount":400,"\\u0061mount":4', "amount"),
        ('"amount":400,"more":[{"x":1,"x":2}]', "x"),
    ],
)
def test_what_the_bank_tells(amounts: str, named: str | None) -> None:
    """Goal: a callback, signed or not, that says one thing and another is not believed."""
    data = f'{{"reference":"r","payout_id":"po_1",{amounts},"currency":"USD"}}'
    body = f'{{"type":"payout.returned","data":{data}}}'.encode()
    if named is None:
        assert read_callback(body).data.reference == "r"
    else:
        with pytest.raises(ValidationFailed, match=f'names "{named}" twice'):
            read_callback(body)


@pytest.mark.parametrize("depth", [200, 900, 990, 1100, 30_000])
@pytest.mark.parametrize("name", ["metadata", "other"])
def test_depth_is_no_way_around(depth: int, name: str) -> None:
    """Goal: however deep it is hidden, it is refused, and the service goes on."""
    inner: Any = '{"a":1,"a":2}'
    text = f'{{"user_id":1,"amount":1,"idempotency_key":"k","{name}":{"[" * depth}{inner}{"]" * depth}}}'
    with pytest.raises(Exception) as refused:
        READER.charge(text.encode(), NOBODY)
    assert getattr(refused.value, "code", None) in ("validation_failed", "malformed_json")


def test_at_most_so_many_fields_are_told() -> None:
    """Goal: an answer does not grow with the mistakes."""
    raw = json.dumps({f"x{number}": number for number in range(4000)}).encode()
    with pytest.raises(ValidationFailed) as refused:
        READER.charge(raw, NOBODY)
    assert len(refused.value.errors) == FIELDS_MAX == 20
    assert str(refused.value).endswith("; and more")
    assert len(str(refused.value)) < 2000

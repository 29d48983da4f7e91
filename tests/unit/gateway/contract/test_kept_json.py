"""Metadata and destinations are kept as they came, except white space, or refused with a reason."""

import json
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.kept_json import Unfit, kept_destination, kept_metadata
from gateway.contract.problems import MalformedJson
from gateway.contract.request_models import METADATA_BYTES_MAX, METADATA_KEYS_MAX, NESTING_MAX
from gateway.contract.user_ids import UserIds
from gateway.wire.auth import NOBODY
from gateway.wire.request_reader import RequestReader
from tests.json_spellings import json_objects, spelled

READER = RequestReader("USD", UserIds.AUTO)
WHOLE = b'{"user_id": 42, "amount": 100, "idempotency_key": "k", %b}'


def raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        '{"n":1.10}',
        '{"n":1E400}',
        '{"n":10E399}',
        '{"n":123456789012345678901234567890}',
        '{"n":-0}',
        '{"n":-0.0}',
        '{"n":3.0e+00}',
        '{"n":5e-324}',
        '{"n":1e-99999999999999999999}',
        '{"n":0.1000000000000000055511151231257827}',
        '{"b":1,"a":2,"":3}',
        '{"a":"\\u00e9é\\/\\b\\uD83D\\uDE00"}',
        '{"a":"two  blanks\\n, [1, 2]: \\" { \\\\"}',
        '{"a":"\u2028\uffff\x7f"}',
        '{"__proto__":{"x":[[],{}]}}',
        "{}",
    ],
)
def test_nothing_is_changed(text: str) -> None:
    """Goal: numbers, escapes and the order of members are given back as they came."""
    for kept in (kept_metadata, kept_destination):
        assert kept(raw(text)) == text
        assert kept(raw(f"\r\n {text}\t ")) == text


@given(json_objects, st.randoms(use_true_random=False))
def test_only_white_space_is_left_out(value: Any, random: Random) -> None:
    """Goal: the kept text is the received one without the white space outside of strings."""
    text = spelled(value, random)
    parts = text.replace("\\\\", "\0").replace('\\"', "\1").split('"')  # strings stand at odd places
    outside = [part if place % 2 else "".join(part.split()) for place, part in enumerate(parts)]
    assert kept_metadata(raw(text)) == '"'.join(outside).replace("\1", '\\"').replace("\0", "\\\\")


@pytest.mark.parametrize(
    ("text", "kept"), [("null", None), ('"DE89"', '"DE89"'), ('"' + "é" * 255 + '"', '"' + "é" * 255 + '"')]
)
def test_destinations(text: str, kept: str | None) -> None:
    """Goal: a destination may be a text, too."""
    assert kept_destination(raw(text)) == kept


def deep(levels: int) -> str:
    return '{"a":' * (levels - 1) + "{}" + "}" * (levels - 1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a":1,"a":2}', 'names "a" twice'),
        ('{"x":[{"b":1,"\\u0062":2}]}', 'names "b" twice'),
        ('{"x":{"\\"":1,"\\u0022":2}}', "twice"),
        ('{"a":"\\u0000"}', "NUL"),
        ('{"x\\u0000y":1}', "NUL"),
        (deep(NESTING_MAX + 1), "deeper"),
        ('{"a":' + "[" * 1500 + "]" * 1500 + "}", "deeper"),
        ('{"a":' + "[" * NESTING_MAX + "]" * NESTING_MAX + "}", "deeper"),
        ('{"x":"' + "y" * METADATA_BYTES_MAX + '"}', "bytes"),
        ('{"x":"' + "é" * (METADATA_BYTES_MAX // 2) + '"}', "bytes"),
    ],
)
def test_what_is_not_kept(text: str, reason: str) -> None:
    """Goal: what could be read in two ways, or by some and not by others, or is too much, is refused, and why."""
    for kept in (kept_metadata, kept_destination):
        with pytest.raises(Unfit, match=reason):
            kept(raw(text))


def test_limits_are_taken_to_the_full() -> None:
    """Goal: the limits of depth, keys and bytes are exact."""
    assert kept_metadata(raw(deep(NESTING_MAX)))
    many = [
        json.dumps({str(number): 1 for number in range(count)})
        for count in (METADATA_KEYS_MAX, METADATA_KEYS_MAX + 1)
    ]
    assert kept_metadata(raw(many[0]))
    assert kept_destination(raw(many[1]))
    with pytest.raises(Unfit):
        kept_metadata(raw(many[1]))
    longest = '{"x":"' + "y" * (METADATA_BYTES_MAX - 8) + '"}'
    assert kept_metadata(raw("  " + longest)) == longest


@pytest.mark.parametrize("text", ["1", "1.5", "true", "[]", '[{"a":1}]', '""', '"' + "x" * 256 + '"'])
def test_what_is_no_destination(text: str) -> None:
    """Goal: a destination that could not be sent to any bank is refused."""
    with pytest.raises(Unfit):
        kept_destination(raw(text))
    with pytest.raises(Unfit):
        kept_metadata(raw(text))


@pytest.mark.parametrize(
    "member",
    [
        b'"metadata": {"a": "\xff"}',
        b'"metadata": {"a": "\\ud800"}',
        b'"metadata": {"n": 01}',
        b'"metadata": {"a": NaN}',
    ],
)
def test_what_is_no_json_within(member: bytes) -> None:
    """Goal: kept text is JSON in UTF-8 to its last letter."""
    for read in (READER.charge, READER.withdraw):
        with pytest.raises(MalformedJson):
            read(WHOLE % member, NOBODY)


def test_a_number_beyond_floats_before_a_mistake() -> None:
    """Goal: a number that stops one parser does not hide from the others what comes after it."""
    with pytest.raises(MalformedJson):
        READER.charge(b'{"metadata": {"n": 1e400}, "amount": }', NOBODY)
    with pytest.raises(MalformedJson):
        READER.charge(WHOLE % b'"metadata": {"n": 1e400, "a": "\\udc00"}', NOBODY)

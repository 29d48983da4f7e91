"""The canonical spelling: one for each value, however it is written, and another one for any other value."""

import json
import time
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.json_spellings import json_values, same, spelled
from wallet.canonical import (
    DuplicateMember,
    UnfitText,
    canonical_json,
    canonical_or_nothing,
    checked_json,
    names_given,
)

randoms = st.randoms(use_true_random=False)


@given(json_values, randoms)
def test_every_spelling_of_a_value_has_the_same_canonical_one(value: Any, random: Random) -> None:
    """Goal: order of members, white space, escapes and the form of a number make no difference."""
    one, other = spelled(value, random), spelled(value, random)
    assert canonical_json(one) == canonical_json(other)
    assert canonical_json(one).isascii()


@given(json_values, json_values, randoms)
@example(True, 1, Random(0))
@example([], {}, Random(0))
@example("1", 1, Random(0))
@example({"a": {}}, {}, Random(0))
@example({"a": None}, {}, Random(0))
@example("é", "e\u0301", Random(0))
@example(["a", "b"], ["b", "a"], Random(0))
@example(Decimal("0.1"), Decimal("0.1000000000000000055511151231257827"), Random(0))
@example(2**53, 2**53 + 1, Random(0))
@example(10**400, Decimal("1e400"), Random(0))
@example(Decimal("0E+1"), 0, Random(0))
def test_other_values_have_other_canonical_spellings(one: Any, other: Any, random: Random) -> None:
    """Goal: two values have one canonical spelling if, and only if, they are the same."""
    canonical = [canonical_json(spelled(value, random)) for value in (one, other)]
    assert (canonical[0] == canonical[1]) is same(one, other)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ('{"b": [1.0, 1e0, 10E-1, 1], "a": null}', '{"a":null,"b":[1,1,1,1]}'),
        ("[-0, 0.0, -0e99999999999999999999]", "[0,0,0]"),
        ("[1.10, 11e-1]", r'[{"\u0000":"11e-1"},{"\u0000":"11e-1"}]'),
        ("[999999999999999, 1e14]", "[999999999999999,100000000000000]"),
        ("[1000000000000000, 1e15]", r'[{"\u0000":"1e15"},{"\u0000":"1e15"}]'),
        ("[1E400, 10e399]", r'[{"\u0000":"1e400"},{"\u0000":"1e400"}]'),
        ("-12345678901234567890.50", r'{"\u0000":"-123456789012345678905e-1"}'),
        (r'"\u00e9\/é"', r'"\u00e9/\u00e9"'),
    ],
)
def test_canonical_spellings_outlive_a_release(text: str, canonical: str) -> None:
    """Goal: digests of them stand in the database and at the bank for years: they may not change with the code."""
    assert canonical_json(text) == canonical


@pytest.mark.parametrize("text", [None, "{}", "null"])
def test_an_empty_object_says_nothing(text: str | None) -> None:
    """Goal: what may be left out is the same left out, null or empty; an empty list or text is something."""
    assert canonical_or_nothing(text) == ""
    assert canonical_or_nothing("[]") == "[]"
    assert canonical_or_nothing('""') == '""'
    assert canonical_or_nothing('{"a":{}}') == '{"a":{}}'


@pytest.mark.parametrize(
    "text",
    [
        "1e" + "9" * 4000,
        "1" * 4090,
        "1." + "1" * 4000 + "e-" + "9" * 80,
        "[" + "1e4095," * 500 + "1]",
        "[" + ",".join(f"{n}e99999" for n in range(400)) + "]",
        "\\" * 4000,
    ],
)
def test_no_number_is_much_work(text: str) -> None:
    """Goal: what a text costs is bounded by its length, not by the powers of ten that it names."""
    spelled_text = json.dumps(text) if text.startswith("\\") else text
    started = time.process_time()
    assert len(canonical_json(spelled_text)) < 10 * len(spelled_text)
    assert time.process_time() - started < 0.5


@given(json_values, randoms)
def test_what_is_right_passes(value: Any, random: Random) -> None:
    """Goal: no value without NUL or halves of pairs is refused, whichever way it is spelled."""
    checked_json(spelled(value, random))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"a":1,"a":1}', "a"),
        ('{"a":1,"\\u0061":2}', "a"),
        ('{"":1,"":2}', ""),
        ('[1,[{"x":{"b":1,"c":{"d":1,"\\u0064":2}}}]]', "d"),
        ('{"\\u00e9":1,"é":2}', "é"),
        ('{"\\"":1,"\\u0022":2}', '"'),
        ('{"\\/":1,"/":2}', "/"),
        ('{"\\ud83d\\ude00":1,"\U0001f600":2}', "\U0001f600"),
        ('{"a":1,"b":1,"c":1,"b":1,"a":1}', "a"),
    ],
)
def test_a_member_named_twice_is_found(text: str, name: str) -> None:
    """Goal: at any depth, however the second one is spelled."""
    with pytest.raises(DuplicateMember) as refused:
        checked_json(text)
    assert refused.value.name == name


@pytest.mark.parametrize(
    "text",
    [
        '{"a":{"a":{"a":1}}}',
        '[{"a":1},{"a":1}]',
        '{"a":"a","b":["a","a"]}',
        '{"é":1,"e\u0301":2}',
        '{"a":1,"A":1}',
    ],
)
def test_the_same_name_in_several_objects(text: str) -> None:
    """Goal: only within one object may a name come once."""
    checked_json(text)


@pytest.mark.parametrize(
    "text",
    [
        r'"\u0000"',
        r'"a\\\u0000"',
        r'{"x\u0000y":1}',
        r'[[{"a":["\u0000"]}]]',
        r'"\ud800"',
        r'"\uDFFF"',
        r'"\udc00\ud800"',
        r'"\ud83dx\ude00"',
        r'{"\ud800":1}',
        r'"\ud83d\ud83d\ude00"',
    ],
)
def test_what_no_text_can_hold(text: str) -> None:
    """Goal: NUL and half pairs are found wherever they are, names included."""
    with pytest.raises(UnfitText):
        checked_json(text)


@pytest.mark.parametrize(
    "text", [r'"\\u0000"', r'"\\\\u0000"', r'"\\ud800"', r'"\ud83d\ude00"', r'"\u0001\uffff"']
)
def test_what_only_looks_like_it(text: str) -> None:
    """Goal: a backslash before a `u` is no escape if it is itself escaped."""
    checked_json(text)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a":-Infinity}', "01", "{'a':1}", "", "1 2", '"\t"'])
def test_what_is_no_json(text: str) -> None:
    """Goal: Python's reader takes more than JSON; this one does not."""
    with pytest.raises(ValueError):
        checked_json(text)


def test_the_names_of_an_object() -> None:
    """Goal: each name as often as it is given, and none of an inner object."""
    assert names_given('{"a":1,"\\u0061":{"b":1},"c":[{"d":2}]}') == ["a", "a", "c"]

"""JSON values, and the many ways to spell each of them."""

import json
from decimal import Decimal
from random import Random
from typing import Any

from hypothesis import strategies as st

numbers = st.one_of(
    st.integers(-3, 3),
    st.integers(),
    st.builds(
        lambda digits, power: Decimal(digits).scaleb(power),
        st.integers(-(10**20), 10**20),
        st.integers(-30, 30),
    ),
    st.builds(
        lambda digits, power: Decimal((0, (digits,), power)), st.integers(0, 9), st.integers(-500, 500)
    ),
)
letters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts = st.text(letters, max_size=6) | st.sampled_from(
    ("a", "b", '"', "\\", "é", "e\u0301", "\U0001f600", "\x7f")
)
scalars = st.none() | st.booleans() | numbers | texts
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
json_objects = st.dictionaries(texts, json_values, max_size=4)


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same one; unlike Python, `1` and `true` are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def spelled(value: Any, random: Random) -> str:
    """Return one of the ways to spell a value."""
    if isinstance(value, dict):
        members = [f"{_text(name, random)}{_blank(random)}:{spelled(value[name], random)}" for name in value]
        random.shuffle(members)
        return _blank(random) + "{" + ",".join(members) + _blank(random) + "}" + _blank(random)
    if isinstance(value, list):
        items = ",".join(spelled(item, random) for item in value)
        return f"{_blank(random)}[{items}{_blank(random)}]{_blank(random)}"
    if isinstance(value, str):
        return _blank(random) + _text(value, random)
    if value is None or isinstance(value, bool):
        return json.dumps(value) + _blank(random)
    return _blank(random) + _number(Decimal(value), random) + _blank(random)


def _blank(random: Random) -> str:
    return random.choice(("", "", "", " ", "\n\t", " \r\n"))


def _text(text: str, random: Random) -> str:
    return '"' + "".join(_letter(letter, random) for letter in text) + '"'


def _letter(letter: str, random: Random) -> str:
    plain = json.dumps(letter, ensure_ascii=False)[1:-1]
    escaped = "".join(f"\\u{unit:04x}" for unit in _utf16(letter))
    shorts = {"/": "\\/", "\b": "\\b", "\f": "\\f"}
    return random.choice(
        (plain, plain, escaped, escaped.upper().replace("\\U", "\\u"), shorts.get(letter, plain))
    )


def _utf16(letter: str) -> list[int]:
    code = letter.encode("utf-16-be")
    return [int.from_bytes(code[at : at + 2], "big") for at in range(0, len(code), 2)]


def _number(number: Decimal, random: Random) -> str:
    sign, digits, power = number.as_tuple()
    assert isinstance(power, int)
    text = "".join(map(str, digits)) + "0" * (zeros := random.randrange(3))
    power -= zeros
    point = random.randint(0, len(text))  # digits before it
    power += len(text) - point
    whole, fraction = text[:point].lstrip("0") or "0", text[point:]
    if point and random.random() < 0.5 and 0 <= power <= 20 and not fraction:
        whole, power = (whole + "0" * power).lstrip("0") or "0", 0
    exponent = random.choice(("e", "E")) + random.choice(("", "+") if power >= 0 else ("",)) + str(power)
    if power == 0 and random.random() < 0.8:
        exponent = ""
    minus = "-" if sign or (not any(digits) and random.random() < 0.2) else ""
    return f"{minus}{whole}{'.' + fraction if fraction else ''}{exponent}"

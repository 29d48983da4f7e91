"""One canonical spelling for JSON: two texts with the same meaning get the same spelling.

The meaning is the values. Neither the order of an object's members nor white space makes a difference, an escaped
letter equals the letter, and numbers are exact decimals: `1`, `1.0` and `1e0` are one number, `0.1` and the float
nearest to it are two. No floats are used, because they would make different numbers equal. Letters are compared as
they are, without Unicode normalization.

The length of a text is limited before it comes here. The work grows with the length and does not depend on the
content: no power of ten is ever computed.
"""

import json
import re
from collections import Counter
from functools import lru_cache
from typing import Any

PLAIN_DIGITS_MAX = 15
"""Whole numbers of at most this many digits (nearly all) are spelled plainly; others as digits and a power of ten."""

_LONG_NUMBER = re.compile(rf"\d{{{PLAIN_DIGITS_MAX + 1}}}")
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_DECIMAL = "\0"
"""Name of an object's only member, where the object stands for a decimal: no name from outside holds NUL."""


class DuplicateMember(ValueError):
    """One object has two members of the same name. `name` is that name, without escapes."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class UnfitText(ValueError):
    """A string contains NUL or half of a surrogate pair, which no text can hold."""


def canonical_json(text: str) -> str:
    """Return the canonical spelling, in ASCII, of a JSON text that `checked_json` has accepted.

    The result must not be shown to anyone: decimals are spelled in a form of our own that no other value can have.
    """
    read = _read_long if _LONG_NUMBER.search(text) else _read
    return _spell(read(text))


@lru_cache(16)  # a withdrawal's destination is needed twice: for its fingerprint and for its reference
def canonical_or_nothing(text: str | None) -> str:
    """Return the canonical spelling of an optional member: `{}` and `null` mean the same as leaving it out."""
    canonical = "" if text is None else canonical_json(text)
    return "" if canonical in ("{}", "null") else canonical


def checked_json(text: str) -> Any:
    """Return the value of a JSON text, numbers as their texts.

    Raises DuplicateMember (at any depth), UnfitText, RecursionError, or ValueError if the text is not JSON.
    """
    value = _check(text)
    if "\\u" in text and (_NUL.search(text) or (_SURROGATE.search(text) and not _is_unicode(value))):
        raise UnfitText("must not contain NUL (\\u0000) or half of a surrogate pair")
    return value


def names_given(text: str) -> list[str]:
    """Return the names of an object's members, without escapes; a repeated name appears each time."""
    names: list[str] = _names(text)
    return names


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        times = Counter(name for name, _ in pairs)
        raise DuplicateMember(next(name for name in times if times[name] > 1))
    return members


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _is_unicode(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


@lru_cache(1024)
def _number(text: str) -> Any:
    """Return a number's value: a short whole number as an int, any other number as digits and a power of ten."""
    mantissa, _, exponent = text.lower().partition("e")
    whole, _, fraction = mantissa.partition(".")
    sign = "-" if whole.startswith("-") else ""
    digits = (whole.lstrip("-") + fraction).lstrip("0")
    if not digits:
        return 0
    significant = digits.rstrip("0")
    power = int(exponent or "0") - len(fraction) + len(digits) - len(significant)
    if power >= 0 and len(significant) + power <= PLAIN_DIGITS_MAX:
        return int(sign + significant + "0" * power)
    return {_DECIMAL: f"{sign}{significant}e{power}"}


_read = json.JSONDecoder(parse_float=_number).decode
_read_long = json.JSONDecoder(parse_float=_number, parse_int=_number).decode
_check = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=str, parse_int=str, parse_constant=_no_constant
).decode
_names = json.JSONDecoder(
    object_pairs_hook=lambda pairs: [name for name, _ in pairs], parse_float=str, parse_int=str
).decode
_spell = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode

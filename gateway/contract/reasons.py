"""Why a value was refused, in words that need no Python: what msgspec says, translated."""

import re

from gateway.contract.request_models import (
    CURRENCY_OR_ALL_PATTERN,
    CURRENCY_PATTERN,
    CURSOR_PATTERN,
    EPOCH_PATTERN,
    REASON_PATTERN,
    STATEMENT_CURSOR_PATTERN,
    URL_PATTERN,
    WORD_PATTERN,
)
from gateway.contract.user_ids import USER_ID_PATTERN, WHOLE_PATTERN

NO_TIME = "must be a date and time as RFC 3339 has it, with an offset"

_PATTERNS: dict[str, str] = {
    USER_ID_PATTERN: "must be 1 to 128 printable ASCII characters without space",
    WHOLE_PATTERN: "must be an integer from 0 to 2^53-1",
    CURRENCY_OR_ALL_PATTERN: "must be three capital letters, or all",
    STATEMENT_CURSOR_PATTERN: "is not a next_cursor of ours",
    CURRENCY_PATTERN: "must be three capital letters",
    CURSOR_PATTERN: "is not a next_cursor of ours",
    REASON_PATTERN: "must be 1 to 255 characters on one line",
    EPOCH_PATTERN: "must be an epoch, which is a UUID in small letters",
    URL_PATTERN: "must be a URL, http(s)://…, of visible ASCII characters",
    WORD_PATTERN: "must be 1 to 255 visible ASCII characters",
}
_SAYINGS: dict[str, str] = {
    "matching regex": "is not spelled as it has to be",
    "out of range": "is a number out of range",
    "RFC3339": NO_TIME,
    "timezone component": NO_TIME,
    "Invalid UUID": "must be a UUID",
    "Invalid enum value": "is none of the values that it may have",
}
"""What stands for a message that says so."""
_FIELDS = {"missing required field": "must have the field", "unknown field": "must not have the field"}
_FIELD = re.compile(rf"Object (?:contains )?({'|'.join(_FIELDS)}) `(.*)`", re.DOTALL)
_TYPES = re.compile(r"`([a-z |]+)`")
_WORDS = {
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "datetime": "a date and time",
    "uuid": "a UUID",
    "object": "an object",
    "array": "an array",
    "bool": "a boolean",
}
_PLACE = re.compile(r"(?:\.\w+)?(?:\[(?P<item>\d+)\])?(?:\.(?P<member>\w+))?")
_NAMES = re.compile(r"\.(\w+(?:\.\w+)*)")


def bad_field(error: Exception) -> tuple[str, str]:
    """Return the field that msgspec's message about a whole body is about, or `$`, and what is wrong with it."""
    _, _, place = str(error).partition(" - at `$")
    named = _NAMES.match(place)
    return named[1] if named else "$", readable_reason(error)


def readable_reason(error: Exception) -> str:
    """Return msgspec's message about a field in words; of an item of a list, they say which one it is."""
    message, _, place = str(error).partition(" - at `$")
    at = _PLACE.match(place)
    item, member = (at["item"], at["member"]) if at else (None, None)
    where = "" if item is None else f"item {int(item) + 1} "
    return f"{member} of {where}{_words(message)}" if where and member else where + _words(message)


def _words(message: str) -> str:
    for pattern, words in _PATTERNS.items():
        if repr(pattern) in message:
            return words
    for said, words in _SAYINGS.items():
        if said in message:
            return words
    if field := _FIELD.fullmatch(message):
        return f"{_FIELDS[field[1]]} {field[2][:64]}"
    message = message.replace("Expected ", "must be ", 1)
    message = message.replace("got `float`", "got a number with a fraction or an exponent")
    return _TYPES.sub(_types, message)


def _types(named: re.Match[str]) -> str:
    *others, last = (_WORDS.get(name, name) for name in named[1].split(" | "))
    return f"{', '.join(others)} or {last}" if others else last

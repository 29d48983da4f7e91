"""What is wrong with a request body, field by field: the slow way, taken only when the fast one refused.

Also the checks that a type can't express: how long metadata is, which key is meant, what UTC a time is.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.problems import MalformedJson
from gateway.requests import (
    CURRENCY_PATTERN,
    CURSOR_PATTERN,
    DESTINATION_BYTES_MAX,
    KEY_PATTERN,
    METADATA_BYTES_MAX,
    NESTING_MAX,
    USER_ID_PATTERN,
    ChargeRequest,
    WithdrawRequest,
)
from wallet.errors import ValidationFailed, WalletError

Errors = list[tuple[str, str]]
"""(field, reason)"""

_any_decoder = msgspec.json.Decoder()
_raw_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode
_KEY = re.compile(KEY_PATTERN)
_field_decoders: dict[type[msgspec.Struct], dict[str, msgspec.json.Decoder[Any]]] = {
    kind: {field.name: msgspec.json.Decoder(field.type) for field in msgspec.structs.fields(kind)}
    for kind in (ChargeRequest, WithdrawRequest)
}

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""All that decoding bytes from outside can raise."""


def utc(given: datetime | None, errors: Errors) -> datetime | None:
    """Return `given` in UTC, or None and one more error: the first and last hours of the calendar."""
    try:
        return None if given is None else given.astimezone(UTC)
    except OverflowError:
        errors.append(("release_at", "lies outside the years 1 to 9999 in UTC"))
        return None


def json_text(value: Any, field: str, bytes_max: int, errors: Errors) -> str | None:
    """Return `value` as compact JSON, or None and one more error."""
    if value is None:
        return None
    if _depth_exceeds(value, NESTING_MAX):
        errors.append((field, f"is nested deeper than {NESTING_MAX} levels"))
        return None
    encoded = _encode(value)
    if len(encoded) > bytes_max:
        errors.append((field, f"is {len(encoded)} bytes long as compact JSON, at most {bytes_max} are taken"))
        return None
    return encoded.decode()


def _depth_exceeds(value: Any, levels: int) -> bool:
    if isinstance(value, dict):
        return levels == 0 or any(_depth_exceeds(item, levels - 1) for item in value.values())
    if isinstance(value, list):
        return levels == 0 or any(_depth_exceeds(item, levels - 1) for item in value)
    return False


def one_key(body_key: str | None, header_key: str | None, errors: Errors) -> str:
    """Return the one key that body and `Idempotency-Key` header name between them ("" with an error)."""
    if header_key is not None:
        if not _KEY.match(header_key):
            errors.append(("idempotency_key", "header Idempotency-Key: 1 to 255 printable ASCII characters"))
            return ""
        if body_key is not None and body_key != header_key:
            errors.append(("idempotency_key", "body and Idempotency-Key header name different keys"))
            return ""
        return header_key
    if body_key is None:
        errors.append(("idempotency_key", "is required, in the body or in the Idempotency-Key header"))
        return ""
    return body_key


def raw_items(body: bytes) -> list[msgspec.Raw]:
    """Return the items of a JSON array, unread. Raises MalformedJson or ValidationFailed."""
    check_json(body)
    try:
        return _raw_list_decoder.decode(body)
    except msgspec.ValidationError:
        raise ValidationFailed([("$", "must be an array of charges")]) from None


def check_json(body: bytes) -> None:
    """Raise `MalformedJson` unless `body` is JSON in UTF-8."""
    if not body.strip():
        raise MalformedJson("the body is empty")
    try:
        body.decode()
        _any_decoder.decode(body)
    except UnicodeDecodeError as error:
        raise MalformedJson(f"the body is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise MalformedJson("the body is nested too deeply") from None
    except msgspec.ValidationError:
        return  # JSON, but a number that no float can hold: the field's own check says which.
    except msgspec.DecodeError as error:
        raise MalformedJson(f"the body is not JSON: {error}") from None


def explain(body: bytes, kind: type[msgspec.Struct], header_key: str | None) -> WalletError:
    """Return the error that says all that is wrong with a body which did not decode."""
    try:
        check_json(body)
        given = _object_decoder.decode(body)
    except MalformedJson as error:
        return error
    except msgspec.ValidationError:
        return ValidationFailed([("$", "must be a JSON object")])
    return ValidationFailed(list(_field_errors(given, kind, header_key)))


def _field_errors(
    given: dict[str, msgspec.Raw], kind: type[msgspec.Struct], header_key: str | None
) -> Iterator[tuple[str, str]]:
    decoders = _field_decoders[kind]
    values: dict[str, Any] = {}
    bad: Errors = []
    for name, raw in given.items():
        if name not in decoders:
            yield name[:64], "is not a field of this request"
            continue
        try:
            values[name] = decoders[name].decode(raw)
        except msgspec.DecodeError as error:
            yield name, readable_reason(error)
    for field in msgspec.structs.fields(kind):
        if field.required and field.name not in given:
            yield field.name, "is required"
    if "idempotency_key" in values or "idempotency_key" not in given:
        one_key(values.get("idempotency_key"), header_key, bad)
    utc(values.get("release_at"), bad)
    json_text(values.get("destination"), "destination", DESTINATION_BYTES_MAX, bad)
    json_text(values.get("metadata"), "metadata", METADATA_BYTES_MAX, bad)
    yield from bad


_READABLE: dict[str, str] = {
    USER_ID_PATTERN: "must be 1 to 128 printable ASCII characters without space",
    KEY_PATTERN: "must be 1 to 255 printable ASCII characters",
    CURRENCY_PATTERN: "must be three capital letters (ISO 4217)",
    CURSOR_PATTERN: "is not a next_cursor of ours",
}
_WORDS = {
    "`int | str`": "an integer or a string",
    "`int`": "an integer",
    "`float`": "a number",
    "`str | object | null`": "a string, an object or null",
    "`str | null`": "a string or null",
    "`object | null`": "an object or null",
    "`datetime`": "a date and time",
    "`str`": "a string",
    "`object`": "an object",
    "`array`": "an array",
    "`bool`": "a boolean",
    "`null`": "null",
}


def readable_reason(error: Exception) -> str:
    """Return msgspec's message in words for people who don't write Python."""
    message = str(error)
    for pattern, words in _READABLE.items():
        if repr(pattern) in message:
            return words
    message = message.replace("Expected ", "must be ", 1).replace(" - at `$`", "")
    for python, words in _WORDS.items():
        message = message.replace(python, words)
    return message

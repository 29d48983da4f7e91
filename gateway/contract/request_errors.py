"""Explains what is wrong with a request body, field by field. It is slow, and needed only for bodies that were refused.

It also holds the checks that a type can't express: one idempotency key, times within the calendar.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from typing import Any

import msgspec

from gateway.contract.bodies import BODY_BYTES_MAX
from gateway.contract.idempotency_keys import BadKey, header_key, plain_key
from gateway.contract.kept_json import Unfit, kept_destination, kept_metadata, twice_in_one_object
from gateway.contract.problems import MalformedJson, PayloadTooLarge
from gateway.contract.reasons import readable_reason
from gateway.contract.request_models import RELEASE_AT_MAX, LegRequest
from wallet.canonical import DuplicateMember, UnfitText, checked_json, names_given
from wallet.errors import FIELDS_MAX, ValidationFailed, WalletError

Errors = list[tuple[str, str]]
"""(field, reason)"""

_raw_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raw_decoder = msgspec.json.Decoder(msgspec.Raw)


def _named_once(raw: msgspec.Raw) -> None:
    """Raise Unfit if an object within names a member twice, or a text is none."""
    try:
        checked_json(bytes(raw).decode())
    except DuplicateMember as duplicate:
        raise Unfit(twice_in_one_object(duplicate)) from None
    except UnfitText as unfit:
        raise Unfit(str(unfit)) from None


_CHECKS: dict[str, Callable[[msgspec.Raw], object]] = {
    "destination": kept_destination,
    "metadata": kept_metadata,
    "legs": _named_once,
}
"""By the name of the field, what its type can't check."""

UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError)
"""All errors that reading bytes from outside can raise."""


def utc(given: datetime) -> datetime:
    """Return `given` in UTC. Raises Unfit after RELEASE_AT_MAX, and before the first instant of the calendar."""
    try:
        at = given.astimezone(UTC)
    except OverflowError:
        at = None
    if at is None or at > RELEASE_AT_MAX:
        last = RELEASE_AT_MAX.isoformat().replace("+00:00", "Z")
        raise Unfit(f"must be in the future and not after {last}")
    return at


def one_key(body_key: str | None, header_lines: Sequence[str]) -> str:
    """Return the one key that body and `Idempotency-Key` headers name between them. Raises BadKey."""
    in_body = None if body_key is None else plain_key(body_key)
    if not header_lines:
        if in_body is None:
            raise BadKey("is required, in the body or in the Idempotency-Key header")
        return in_body
    try:
        in_header = header_key(header_lines)
    except BadKey as bad:
        raise BadKey(f"header Idempotency-Key: {bad}") from None
    if in_body is not None and in_body != in_header:
        raise BadKey("body and Idempotency-Key header name different keys")
    return in_header


def raw_items(body: bytes) -> list[msgspec.Raw]:
    """Return the items of a JSON array, unread. Raises MalformedJson or ValidationFailed."""
    check_json(body)
    try:
        return _raw_list_decoder.decode(body)
    except msgspec.ValidationError:
        raise ValidationFailed([("$", "must be an array")]) from None


def check_json(body: bytes) -> None:
    """Raise `MalformedJson` unless `body` is JSON in UTF-8."""
    if not body.strip():
        raise MalformedJson("the body is empty")
    try:
        body.decode()
        _raw_decoder.decode(body)
    except UnicodeDecodeError as error:
        raise MalformedJson(f"the body is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise MalformedJson("the body is nested too deeply") from None
    except msgspec.DecodeError as error:
        raise MalformedJson(f"the body is not JSON: {error}") from None


def check_names(body: bytes) -> None:
    """Raise `ValidationFailed` where JSON names a member twice in one object, or holds NUL or half of a pair."""
    try:
        checked_json(body.decode())
    except DuplicateMember as duplicate:
        raise ValidationFailed([("$", twice_in_one_object(duplicate))]) from None
    except UnfitText as unfit:
        raise ValidationFailed([("$", str(unfit))]) from None
    except (ValueError, RecursionError):
        raise MalformedJson("the body can't be read") from None


def explain(body: bytes, kind: type[msgspec.Struct], header_lines: Sequence[str]) -> WalletError:
    """Return the error that names everything that is wrong with a body, or with an item of one, that was refused.

    An item that is longer than a body of one may be is not looked into: at 1 MB that takes 100 ms.
    """
    if len(body) > BODY_BYTES_MAX:
        return PayloadTooLarge(f"this is not valid, and longer than {BODY_BYTES_MAX} bytes")
    try:
        check_json(body)
        given = _object_decoder.decode(body)
        names = names_given(body.decode())
    except MalformedJson as error:
        return error
    except msgspec.ValidationError:
        return ValidationFailed([("$", "must be a JSON object")])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return MalformedJson("the body can't be read")
    twice = [(name, "is named twice") for name, times in Counter(names).items() if times > 1]
    errors = list(islice(_field_errors(given, kind, header_lines), FIELDS_MAX + 1))
    assert twice or errors, "refused for no reason"
    return ValidationFailed([(name[:64], reason) for name, reason in twice + errors])


@cache
def _field_decoders(kind: type[msgspec.Struct]) -> dict[str, msgspec.json.Decoder[Any]]:
    return {field.name: msgspec.json.Decoder(field.type) for field in msgspec.structs.fields(kind)}


@cache
def _required(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    # `fields` evaluates the annotations anew each time, which was a fifth of what hostile bodies cost.
    return tuple(field.name for field in msgspec.structs.fields(kind) if field.required)


def _field_errors(
    given: dict[str, msgspec.Raw], kind: type[msgspec.Struct], header_lines: Sequence[str]
) -> Iterator[tuple[str, str]]:
    decoders = _field_decoders(kind)
    values: dict[str, Any] = {}
    for name, raw in given.items():
        if name not in decoders:
            yield name, "is not a field of this request"
            continue
        try:
            values[name] = decoders[name].decode(raw)
            if name in _CHECKS:
                _CHECKS[name](raw)
            _check_times(name, values[name])
        except msgspec.DecodeError as error:
            yield name, readable_reason(error)
        except Unfit as error:
            yield name, str(error)
    for name in _required(kind):
        if name not in given:
            yield name, "is required"
    if "idempotency_key" in decoders and ("idempotency_key" in values or "idempotency_key" not in given):
        try:
            one_key(values.get("idempotency_key"), header_lines)
        except BadKey as error:
            yield "idempotency_key", str(error)


def _check_times(name: str, value: Any) -> None:
    """Raise Unfit if a time is beyond the calendar, also within legs."""
    if name in ("release_at", "expires_at") and value is not None:
        utc(value)
    elif name == "legs":
        for number, leg in enumerate(value or (), 1):
            try:
                if isinstance(leg, LegRequest) and leg.release_at is not None:
                    utc(leg.release_at)
            except Unfit as unfit:
                raise Unfit(f"release_at of leg {number} {unfit}") from None

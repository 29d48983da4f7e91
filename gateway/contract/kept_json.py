"""JSON that is kept as it came, white space apart: metadata and destinations.

It is never read into values that could say less than its text: `1.10` stays `1.10`, a number of thirty digits keeps
them all, members keep their order.
"""

import json
from typing import Any

import msgspec

from gateway.contract.request_models import (
    DESTINATION_BYTES_MAX,
    DESTINATION_CHARS_MAX,
    METADATA_BYTES_MAX,
    METADATA_KEYS_MAX,
    NESTING_MAX,
)
from wallet.canonical import DuplicateMember, UnfitText, checked_json


class Unfit(ValueError):
    """A value can't be kept. The message says why."""


def kept_metadata(given: msgspec.Raw) -> str | None:
    """Return metadata as the text to keep, None for null. Raises Unfit, UnicodeDecodeError."""
    text, value = _read(given, METADATA_BYTES_MAX)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise Unfit("must be an object or null")
    if len(value) > METADATA_KEYS_MAX:
        raise Unfit(f"has {len(value)} keys, at most {METADATA_KEYS_MAX} are taken")
    return text


def kept_destination(given: msgspec.Raw) -> str | None:
    """Return a destination as the text to keep, None for null. Raises Unfit, UnicodeDecodeError."""
    text, value = _read(given, DESTINATION_BYTES_MAX)
    if value is None:
        return None
    if not isinstance(value, dict) and not text.startswith('"'):
        raise Unfit("must be a string, an object or null")
    if isinstance(value, str) and not 0 < len(value) <= DESTINATION_CHARS_MAX:
        raise Unfit(f"must be of length 1 to {DESTINATION_CHARS_MAX}")
    return text


def twice_in_one_object(duplicate: DuplicateMember) -> str:
    """Return the reason in words, with the member's name escaped to ASCII."""
    return f"names {json.dumps(duplicate.name[:64])} twice in one object"


def _read(given: msgspec.Raw, bytes_max: int) -> tuple[str, Any]:
    try:
        compact = msgspec.json.format(bytes(given), indent=-1)
        if len(compact) > bytes_max:
            raise Unfit(f"is {len(compact)} bytes long as compact JSON, at most {bytes_max} are taken")
        text = compact.decode()
        value = checked_json(text)
    except DuplicateMember as duplicate:
        raise Unfit(twice_in_one_object(duplicate)) from None
    except UnfitText as unfit:
        raise Unfit(str(unfit)) from None
    except RecursionError:
        raise Unfit(_TOO_DEEP) from None
    if text.count("{") + text.count("[") > NESTING_MAX and _depth_exceeds(value, NESTING_MAX):
        raise Unfit(_TOO_DEEP)
    return text, value


_TOO_DEEP = f"is nested deeper than {NESTING_MAX} levels"


def _depth_exceeds(value: Any, levels: int) -> bool:
    if isinstance(value, dict):
        return levels == 0 or any(_depth_exceeds(item, levels - 1) for item in value.values())
    if isinstance(value, list):
        return levels == 0 or any(_depth_exceeds(item, levels - 1) for item in value)
    return False

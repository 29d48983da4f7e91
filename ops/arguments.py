"""Arguments of commands that are written down: they are held to the rules of the API's requests."""

from typing import Any

import msgspec

from gateway.contract.reasons import readable_reason
from ops.errors import OpsError


def require(value: str, kind: Any, what: str) -> str:
    """Return the value if it is one of `kind`, a type of the API's contract. Raises OpsError, which names `what`."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise OpsError(f"{what} {readable_reason(error)}.") from error
    return value


def whole_number(text: str, least: int, greatest: int) -> int:
    """Return the number. Raises ValueError, as argparse wants it, if it is none from `least` to `greatest`."""
    number = int(text)
    if not least <= number <= greatest:
        raise ValueError
    return number

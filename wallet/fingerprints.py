"""What tells one request from another under the same idempotency key: a digest of all that it asks for.

A fingerprint stands in the database for years, so it says how it was made:

=======  ==================================================================================================
version  form
=======  ==================================================================================================
1        16 bytes: BLAKE2b of the request, its JSON as msgspec spelled it again: the order of members and
         `1` or `1.0` made a difference, 1.10 and 1.1 none
2        2 and 16 bytes: the same, but JSON in its canonical spelling (`wallet.canonical`), `{}` as nothing
=======  ==================================================================================================

A repeated request is compared with each row in the way in which the row was made.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b

import msgspec

from wallet.canonical import canonical_or_nothing

DIGEST_BYTES = 16
_VERSION = b"\x02"

Spelling = Callable[[str | None], str]
"""How JSON, or none, is spelled in what is digested."""


class UnknownVersion(ValueError):
    """The fingerprint was made by a later version of this service: nothing can be said of it."""


def fingerprint(parts: Sequence[str]) -> bytes:
    """Return the fingerprint of a request that asks for this, JSON in its canonical spelling."""
    return _VERSION + _digest(parts)


def is_of(made: bytes, parts: Callable[[Spelling], Sequence[str]]) -> bool:
    """Tell whether `made` is the fingerprint of the request that asks for `parts`, in whichever way it was made.

    Raises UnknownVersion.
    """
    if len(made) == DIGEST_BYTES:
        return _is_of_first_version(made, parts)
    if len(made) != len(_VERSION) + DIGEST_BYTES or not made.startswith(_VERSION):
        raise UnknownVersion
    return made == fingerprint(parts(canonical_or_nothing))


def _is_of_first_version(made: bytes, parts: Callable[[Spelling], Sequence[str]]) -> bool:
    try:
        return made == _digest(parts(_spelled_again))
    except msgspec.DecodeError:  # a number beyond floats, which was refused then
        return False


def _spelled_again(text: str | None) -> str:
    return "" if text is None else msgspec.json.encode(msgspec.json.decode(text)).decode()


def _digest(parts: Sequence[str]) -> bytes:
    return blake2b("\x1f".join(parts).encode(), digest_size=DIGEST_BYTES).digest()

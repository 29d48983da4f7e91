"""Fingerprints: a digest of a request's content distinguishes it from other requests under the same idempotency key.

A fingerprint stays in the database for years, so it says how it was made:

=======  ==================================================================================================
version  form
=======  ==================================================================================================
1        16 bytes: BLAKE2b of the request, with its JSON re-encoded by msgspec: the order of members and
         `1` against `1.0` made a difference, 1.10 against 1.1 did not
2        2 and 16 bytes: the same, but with JSON in its canonical spelling (`wallet.canonical`), `{}` as absent
=======  ==================================================================================================

A repeated request is compared with each row by the version that the row was made with.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b

import msgspec

from wallet.canonical import canonical_or_nothing

DIGEST_BYTES = 16
_VERSION = b"\x02"

Spelling = Callable[[str | None], str]
"""Function that spells a JSON text, or its absence, for the digest."""


class UnknownVersion(ValueError):
    """A later version of this service made the fingerprint: it can't be compared."""


def fingerprint(parts: Sequence[str]) -> bytes:
    """Return the fingerprint of a request with these parts, whose JSON is in its canonical spelling."""
    return _VERSION + _digest(parts)


def is_of(made: bytes, parts: Callable[[Spelling], Sequence[str]]) -> bool:
    """Return whether `made`, of any known version, is the fingerprint of the request with these parts.

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
    except msgspec.DecodeError:  # a number beyond the range of floats, which was refused at that time
        return False


def _spelled_again(text: str | None) -> str:
    return "" if text is None else msgspec.json.encode(msgspec.json.decode(text)).decode()


def _digest(parts: Sequence[str]) -> bytes:
    return blake2b("\x1f".join(parts).encode(), digest_size=DIGEST_BYTES).digest()

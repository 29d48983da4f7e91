"""Identifiers that sort by time: UUID version 7 (RFC 9562, sections 5.7 and 6.2, method 3).

They are made from the database's clock, read after the wallet was locked. So the order of a wallet's identifiers is
the order in which its movements took effect, whatever the clocks of the processes say.
"""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SEQUENCE_LENGTH = 2**14


def uuid7_sequence(now: datetime, entropy: bytes | None = None) -> Iterator[UUID]:
    """Yield ascending identifiers for the instant `now`; after 16,384 of them, continue with the next microsecond.

    Layout: 48 bits of milliseconds, 12 bits of the fraction of the millisecond, a 14-bit sequence, 48 random
    bits. `entropy` (6 bytes) is drawn from the system unless given; each identifier adds to it.
    """
    for microseconds in count((now - _EPOCH) // _MICROSECOND):
        milliseconds, rest = divmod(microseconds, 1000)
        start = (milliseconds << 16) | (0x7 << 12) | (rest * 4096 // 1000)
        for end in uuid7_ends(entropy):
            yield UUID(int=start << 64 | end)


def uuid7_ends(entropy: bytes | None = None) -> Iterator[int]:
    """Yield the last 64 bits of 16,384 ascending identifiers, for use while the instant is not yet known."""
    random_bits = int.from_bytes(secrets.token_bytes(6) if entropy is None else entropy, "big")
    for sequence in range(_SEQUENCE_LENGTH):
        random_bits = (random_bits + 0x9E3779B97F4B) & 0xFFFFFFFFFFFF
        yield (0b10 << 62) | (sequence << 48) | random_bits


def instant_of(id: UUID) -> datetime:
    """Return the instant that an identifier begins with, exact to the microsecond."""
    start = id.int >> 64
    milliseconds, fraction = start >> 16, start & 0xFFF
    return _EPOCH + timedelta(milliseconds=milliseconds, microseconds=-(-fraction * 1000 // 4096))


def first_id_of(instant: datetime) -> UUID:
    """Return the least identifier of an instant: all of earlier ones are less, in whatever offset it is spelled."""
    microseconds = (instant - _EPOCH) // _MICROSECOND
    if microseconds < 0:
        return UUID(int=0)
    milliseconds, rest = divmod(microseconds, 1000)
    return UUID(int=((milliseconds << 16) | (0x7 << 12) | (rest * 4096 // 1000)) << 64)

"""Cursors: where the next page of a list begins, opaque to clients."""

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from uuid import UUID

from wallet.errors import ValidationFailed
from wallet.ids import instant_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_STATEMENT = struct.Struct(">qq16s")


def cursor_of(last: UUID) -> str:
    """Return the cursor of the page that begins after this identifier."""
    return urlsafe_b64encode(last.bytes).rstrip(b"=").decode()


def read_cursor(cursor: str) -> UUID:
    """Return the identifier after which a cursor's page begins. Raises ValidationFailed."""
    try:
        last = UUID(bytes=urlsafe_b64decode(cursor + "=="))
    except ValueError:
        last = None
    if last is None or cursor_of(last) != cursor:
        raise ValidationFailed([("cursor", "is not a next_cursor of ours")])
    return last


def statement_cursor_of(last: UUID, at: datetime, end: datetime) -> str:
    """Return the cursor of the page that goes on after an entry that counts from `at`, in a statement up to `end`."""
    packed = _STATEMENT.pack((at - _EPOCH) // _MICROSECOND, (end - _EPOCH) // _MICROSECOND, last.bytes)
    return urlsafe_b64encode(packed).rstrip(b"=").decode()


def read_statement_cursor(cursor: str) -> tuple[UUID, datetime, datetime]:
    """Return the last entry before a cursor's page, its instant, and the statement's end. Raises ValidationFailed."""
    try:
        at_us, end_us, bytes_ = _STATEMENT.unpack(urlsafe_b64decode(cursor + "="))
        last, at, end = UUID(bytes=bytes_), _EPOCH + at_us * _MICROSECOND, _EPOCH + end_us * _MICROSECOND
        if _EPOCH <= at < end and (last.version == 8 or instant_of(last) == at):
            return last, at, end
    except (ValueError, OverflowError, struct.error):
        pass
    raise ValidationFailed([("cursor", "is not a next_cursor of ours")])

"""Properties of messages as anybody may send them: read as far as they can be read.

pika raises in the middle of its connection at a date beyond the year 9999, at a number that is none, at tables within
tables: one such message, which RabbitMQ delivers again and again, would stop a consumer for ever.
"""

import struct
from typing import Any

import pika
import pika.exceptions

_UNREADABLE = (
    ArithmeticError,
    LookupError,
    OSError,
    RecursionError,
    ValueError,
    pika.exceptions.InvalidFieldTypeException,
    struct.error,
)
"""What pika raises where it can't make sense of a property."""

_DEATHS = "x-death"


class Properties(pika.BasicProperties):  # type: ignore[misc]
    """A message's properties; `readable` says whether they are all there."""

    readable = True

    def decode(self, encoded: bytes, offset: int = 0) -> Any:
        """Fill in what can be read; what comes after the first that can't be stays away."""
        try:
            super().decode(encoded, offset)
        except _UNREADABLE:
            self.readable = False
        return self


pika.spec.props[pika.BasicProperties.INDEX] = Properties


def breaks_dead_lettering(properties: Any) -> bool:
    """Return whether RabbitMQ may stumble over these when it makes a dead letter of their message.

    It writes each death into the header `x-death`. Where somebody has put other things there, its queue falls over and
    comes back with the message in it (3.10.8), for ever.
    """
    return not getattr(properties, "readable", True) or _DEATHS in (properties.headers or {})

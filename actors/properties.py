"""Properties of messages from any sender, decoded as far as possible.

A date beyond the year 9999, an invalid number or deeply nested tables make pika raise in the middle of its connection.
RabbitMQ would deliver such a message again and again, so that one message would stop a consumer for ever.
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
"""Errors that pika raises when it can't decode a property."""

_DEATHS = "x-death"


class Properties(pika.BasicProperties):  # type: ignore[misc]
    """A message's properties; `readable` says whether all of them were decoded."""

    readable = True

    def decode(self, encoded: bytes, offset: int = 0) -> Any:
        """Decode the properties up to the first unreadable one; the rest stay unset."""
        try:
            super().decode(encoded, offset)
        except _UNREADABLE:
            self.readable = False
        return self


pika.spec.props[pika.BasicProperties.INDEX] = Properties


def breaks_dead_lettering(properties: Any) -> bool:
    """Return whether RabbitMQ may fail on these properties when it dead-letters their message.

    It writes each death into the header `x-death`. If a sender has put other things there, the queue process crashes
    and restarts with the message still in it (3.10.8), again and again.
    """
    return not getattr(properties, "readable", True) or _DEATHS in (properties.headers or {})

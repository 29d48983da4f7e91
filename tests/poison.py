"""Messages that no queue of ours should ever hold, as anybody who reaches RabbitMQ can send them."""

import json
import struct
from typing import Any
from uuid import uuid4

import pika

GOOD: dict[str, Any] = {
    "queue_name": "withdrawals",
    "actor_name": "pay_withdrawal",
    "args": [str(uuid4()), "nobody"],
    "kwargs": {},
    "options": {},
    "message_id": "m",
    "message_timestamp": 1,
}
"""A message of a withdrawal that there is not."""


def body(**changed: Any) -> bytes:
    """The same message with the given changes."""
    return json.dumps({**GOOD, **changed}).encode()


def _without(name: str) -> bytes:
    return json.dumps({key: value for key, value in GOOD.items() if key != name}).encode()


def _user(escaped: bytes) -> bytes:
    return body(args=[str(uuid4()), "USER"]).replace(b"USER", escaped)


UNREADABLE: dict[str, bytes] = {
    "empty": b"",
    "white space": b" \n",
    "null": b"null",
    "number": b"7",
    "text": b'"x"',
    "list": b"[]",
    "object": b"{}",
    "half": body()[:-20],
    "two": body() + body(),
    "not UTF-8": b"\xff\xfe\x00",
    "UTF-16": body().decode().encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + body(),
    "deep list": b"[" * 100_000,
    "deep object": b'{"a":' * 100_000,
    "deep option, short": body(options={"a": "DEEP"}).replace(b'"DEEP"', b"[" * 1_500 + b"]" * 1_500),
    "pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94.",
    "8 MB": body(args=["x" * 8_000_000, "u"]),
    "number too big": b'{"a":1' + b"0" * 5_000 + b"}",
    "not a number": body(message_timestamp=float("nan")),
    "unknown field": body(extra=1),
    **{f"{name} missing": _without(name) for name in GOOD},
    **{f"{name} null": body(**{name: None}) for name in GOOD},
    **{f"{name} a list": body(**{name: []}) for name in GOOD},
    **{f"{name} an object": body(**{name: {"a": 1}}) for name in GOOD if name not in ("options",)},
    **{f"{name} a number": body(**{name: 5}) for name in GOOD if name != "message_timestamp"},
    "timestamp text": body(message_timestamp="x"),
    "timestamp negative": body(message_timestamp=-1),
    "other actor": body(actor_name="boom"),
    "other queue": body(queue_name="nope"),
    "delay queue named": body(queue_name="withdrawals.DQ"),
    "args text": body(args="ab"),
    "args nested": body(args=[[], {}]),
    "one arg": body(args=[str(uuid4())]),
    "three args": body(args=[str(uuid4()), "a", "b"]),
    "kwargs unexpected": body(kwargs={"x": 1}),
    "no uuid": body(args=["no-uuid", "u"]),
    "uuid with braces": body(args=["{" + str(uuid4()) + "}", "u"]),
    "user null": body(args=[str(uuid4()), None]),
    "user empty": body(args=[str(uuid4()), ""]),
    "user NUL": body(args=[str(uuid4()), "a\0b"]),
    "user surrogate": _user(rb"\ud800"),
    "user surrogates reversed": _user(rb"\udc00\ud800"),
    "user not UTF-8": _user(b"\xc3\x28"),
    "user too long": body(args=[str(uuid4()), "u" * 129]),
    "user 1 MB": body(args=[str(uuid4()), "u" * 1_000_000]),
}
"""None of them is a message of ours."""

OF_NO_WITHDRAWAL: dict[str, bytes] = {
    "unknown withdrawal": body(),
    "eta far": body(options={"eta": 99_999_999_999_999}),
    "eta text": body(options={"eta": "soon"}),
    "time_limit 0": body(options={"time_limit": 0}),
    "time_limit text": body(options={"time_limit": "x"}),
    "time_limit null": body(options={"time_limit": None}),
    "time_limit negative": body(options={"time_limit": -1}),
    "pipeline": body(options={"pipe_target": body().decode(), "pipe_ignore": True}),
    "callback": body(options={"on_failure": "pay_withdrawal", "throws": "x", "priority": "x"}),
}
"""They could be ours, but for their withdrawal."""

BODIES = {**UNREADABLE, **OF_NO_WITHDRAWAL}
"""Each has to become a dead letter."""


class RawHeaders(pika.BasicProperties):
    """Properties with a table of headers that pika itself would not write."""

    _PLACEHOLDER = struct.pack(">IB1scI", 7, 1, b"x", b"I", 1)

    def __init__(self, name: bytes, value: bytes) -> None:
        super().__init__(delivery_mode=2, headers={"x": 1})
        entry = bytes([len(name)]) + name + value
        self._table = struct.pack(">I", len(entry)) + entry

    def encode(self) -> list[bytes]:
        encoded = b"".join(super().encode())
        assert self._PLACEHOLDER in encoded
        return [encoded.replace(self._PLACEHOLDER, self._table)]


def _lists(depth: int) -> bytes:
    value = b""
    for _ in range(depth):
        value = b"A" + struct.pack(">I", len(value)) + value
    return value


PROPERTIES: dict[str, pika.BasicProperties] = {
    "no properties": pika.BasicProperties(),
    "x-death a text": pika.BasicProperties(headers={"x-death": "junk"}),
    "x-death a list of texts": pika.BasicProperties(headers={"x-death": ["junk"]}),
    "x-death of this queue, counted in letters": pika.BasicProperties(
        headers={"x-death": [{"queue": "withdrawals", "reason": "rejected", "count": "a"}]}
    ),
    "x-death behind what can't be read": RawHeaders(
        b"t", struct.pack(">cQ", b"T", 2**62) + b"\x07x-deathA" + struct.pack(">IcI", 6, b"S", 1) + b"j"
    ),
    "x-death without a time": pika.BasicProperties(
        headers={"x-death": [{"queue": "withdrawals", "count": 1}]}
    ),
    "a header that is a date beyond the calendar": RawHeaders(b"t", struct.pack(">cQ", b"T", 2**62)),
    "a header whose name is not UTF-8": RawHeaders(b"\xff", struct.pack(">cI", b"I", 1)),
    "headers within headers": RawHeaders(b"a", _lists(3_000)),
    "gzip": pika.BasicProperties(content_encoding="gzip", content_type="application/x-gzip"),
    "priority": pika.BasicProperties(priority=9),
    "long expiration": pika.BasicProperties(expiration="3600000"),
    "date beyond the calendar": pika.BasicProperties(timestamp=2**63),
    "reply wanted": pika.BasicProperties(reply_to="nowhere", correlation_id="c" * 255, type="t", app_id="a"),
}
"""Around a good body none of them makes a difference."""

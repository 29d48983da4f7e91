"""Messages that our processes never send: each must become a dead letter and have no other effect."""

import json
from typing import Any

import pika
import pika.exceptions

QUEUE = "withdrawals"
_TIMEOUT_S = 3.0
_ID = "00000000-0000-7000-8000-000000000000"


def _message(**changes: Any) -> bytes:
    fields = {
        "queue_name": QUEUE,
        "actor_name": "pay_withdrawal",
        "args": [_ID, "nobody"],
        "kwargs": {},
        "options": {},
        "message_id": "poison",
        "message_timestamp": 1,
    }
    return json.dumps(fields | changes).encode()


POISON = {
    "empty": b"",
    "null": b"null",
    "not_utf8": b"\xff\xfe\x00",
    "deep": b"[" * 50_000,
    "options_null": _message(options=None),
    "options_eta": _message(options={"eta": 99_999_999_999_999}),
    "time_limit_text": _message(options={"time_limit": "x"}),
    "actor_list": _message(actor_name=[]),
    "actor_unknown": _message(actor_name="boom"),
    "queue_null": _message(queue_name=None),
    "kwargs_list": _message(kwargs=[]),
    "args_object": _message(args={"a": 1}),
    "user_nul": _message(args=[_ID, "a\0b"]),
    "user_long": _message(args=[_ID, "u" * 1_000_000]),
    "stranger": _message(),
}
"""Name → body."""


def publish(rabbitmq_url: str, body: bytes) -> None:
    """Put a body into the queue. Raises OSError or pika's AMQPError if RabbitMQ is away."""
    parameters = pika.URLParameters(rabbitmq_url)
    parameters.socket_timeout = parameters.stack_timeout = _TIMEOUT_S
    parameters.blocked_connection_timeout = _TIMEOUT_S
    parameters.connection_attempts = 1
    connection = pika.BlockingConnection(parameters)
    try:
        connection.channel().basic_publish("", QUEUE, body, pika.BasicProperties(delivery_mode=2))
    finally:
        connection.close()

"""The users of the private RabbitMQ: one for each kind of process, with what it needs; there is no `guest`.

To declare a queue with a dead-letter exchange takes the rights to read the queue and to write to that exchange, which
is the default one, `amq.default`: so every process that declares the queues has both.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import NamedTuple

from actors.messages import DEAD_LETTER_QUEUE, DELAY_QUEUE, QUEUE

ADMINISTRATOR = "wbs_administrator"
OPERATOR = "wbs"
"""Whose login `wbs up` shows, for the management page, and with which the commands of `wbs` log in."""


def _only(*queues: str) -> str:
    return "^(" + "|".join(queue.replace(".", r"\.") for queue in queues) + ")$"


_NOTHING, _ANYTHING = "^$", ".*"
_OURS = _only(QUEUE, DELAY_QUEUE, DEAD_LETTER_QUEUE)
_DEFAULT_EXCHANGE = _only("amq.default")


class Permissions(NamedTuple):
    """Patterns of the names of queues and exchanges, and the user's tag: what of the management page is shown."""

    configure: str
    write: str
    read: str
    tag: str = ""


USERS = {
    ADMINISTRATOR: Permissions(_ANYTHING, _ANYTHING, _ANYTHING, "administrator"),
    OPERATOR: Permissions(_OURS, _DEFAULT_EXCHANGE, _OURS, "monitoring"),
    "wbs_relay": Permissions(_OURS, _DEFAULT_EXCHANGE, _only(QUEUE, DELAY_QUEUE)),
    "wbs_actors": Permissions(_OURS, _DEFAULT_EXCHANGE, _only(QUEUE, DELAY_QUEUE)),
    "wbs_reconciler": Permissions(_OURS, _DEFAULT_EXCHANGE, _only(QUEUE, DELAY_QUEUE)),
}


def definitions(passwords: Mapping[str, str]) -> str:
    """Return the definitions that a node loads at each start (JSON): they hold hashes of the passwords."""
    document = {
        "vhosts": [{"name": "/"}],
        "users": [
            {
                "name": name,
                "password_hash": _hash(passwords[name]),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": permissions.tag,
            }
            for name, permissions in USERS.items()
        ],
        "permissions": [
            {
                "user": name,
                "vhost": "/",
                "configure": permissions.configure,
                "write": permissions.write,
                "read": permissions.read,
            }
            for name, permissions in USERS.items()
        ],
    }
    return json.dumps(document, indent=1)


def _hash(password: str) -> str:
    salt = secrets.token_bytes(4)  # as long as RabbitMQ wants it
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()

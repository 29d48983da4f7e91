"""`wbs rabbitmq-users`: makes the users of RabbitMQ, one for each kind of process, with what it needs and no more.

Run by an administrator of the node. It may be run again: passwords and rights become what they should be.

To declare a queue with a dead-letter exchange takes the rights to read the queue and to write to that exchange, which
is the default one, `amq.default`: so every process that declares the queues has both.
"""

import argparse
import base64
import hashlib
import http.client
import json
import os
import secrets
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from actors.messages import (
    DEAD_LETTER_QUEUE,
    DELAY_QUEUE,
    QUEUE,
    WEBHOOKS_DELAY_QUEUE,
    WEBHOOKS_QUEUE,
)
from ops.errors import OpsError, ServerAway

ADMINISTRATOR = "wbs_administrator"
OPERATOR = "wbs_operator"
"""The user that `wbs` logs in as; `wbs up` shows this login, for the management page."""
RELAY, ACTORS, RECONCILER = "wbs_relay", "wbs_actors", "wbs_reconciler"

_START_S_MAX = 10
_ANSWER_S_MAX = 10


def _only(*queues: str) -> str:
    return "^(" + "|".join(queue.replace(".", r"\.") for queue in queues) + ")$"


_ANYTHING = ".*"
_LIVE = (QUEUE, DELAY_QUEUE, WEBHOOKS_QUEUE, WEBHOOKS_DELAY_QUEUE)
_OURS = _only(*_LIVE, DEAD_LETTER_QUEUE)
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
    RELAY: Permissions(_OURS, _DEFAULT_EXCHANGE, _only(*_LIVE)),
    ACTORS: Permissions(_OURS, _DEFAULT_EXCHANGE, _only(*_LIVE)),
    RECONCILER: Permissions(_OURS, _DEFAULT_EXCHANGE, _only(*_LIVE)),
}


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describe the command."""
    text = "make the users of RabbitMQ: print their definitions, or send them with --apply"
    parser = subparsers.add_parser(
        "rabbitmq-users",
        help=text,
        description=f"{text}. Passwords are taken from {', '.join(map(password_variable, USERS))}; a user without one "
        "is left alone.",
    )
    parser.add_argument(
        "--apply",
        action="store_true",
        help="send them to WBS_RABBITMQ_MANAGEMENT_URL, with the administrator's login of RABBITMQ_URL",
    )


def run(args: argparse.Namespace) -> int:
    """Print the definitions, or send them to the node's management page."""
    passwords = given_passwords(os.environ)
    if not passwords:
        raise OpsError(f"No passwords are given: set {', '.join(map(password_variable, USERS))}.")
    if not args.apply:
        print(definitions(passwords))
        return 0
    login, place = os.environ.get("RABBITMQ_URL", ""), os.environ.get("WBS_RABBITMQ_MANAGEMENT_URL", "")
    if not login or not place:
        raise OpsError(
            "RABBITMQ_URL must have an administrator's login, WBS_RABBITMQ_MANAGEMENT_URL name the management page."
        )
    send(definitions(passwords), login, place)
    print(f"RabbitMQ has {', '.join(passwords)}.")
    return 0


def password_variable(user: str) -> str:
    """Return the environment variable with a user's password."""
    return f"RABBITMQ_{user.removeprefix('wbs_').upper()}_PASSWORD"


def given_passwords(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the passwords in the environment, by user."""
    return {user: environ[name] for user in USERS if environ.get(name := password_variable(user))}


def definitions(passwords: Mapping[str, str]) -> str:
    """Return definitions (JSON) of the users whose passwords are given: they hold hashes of these."""
    document = {
        "vhosts": [{"name": "/"}],
        "users": [
            {
                "name": name,
                "password_hash": _hash(password),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": USERS[name].tag,
            }
            for name, password in passwords.items()
        ],
        "permissions": [
            {
                "user": name,
                "vhost": "/",
                "configure": USERS[name].configure,
                "write": USERS[name].write,
                "read": USERS[name].read,
            }
            for name in passwords
        ],
    }
    return json.dumps(document, indent=1)


def _hash(password: str) -> str:
    salt = secrets.token_bytes(4)  # as long as RabbitMQ wants it
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def send(document: str, administrator_url: str, management_url: str) -> None:
    """Let the node import definitions, waiting for its management page while it starts.

    Raises ServerAway if the page can't be reached, and OpsError if it refuses.
    """
    try:
        status = _post(document, administrator_url, management_url)
    except (OSError, http.client.HTTPException) as error:
        why = " ".join(str(error).split()) or "it did not answer in time"
        raise ServerAway(f"RabbitMQ's users cannot be made: {why}.") from error
    if status == http.HTTPStatus.UNAUTHORIZED:
        raise OpsError("RabbitMQ's users cannot be made: it refuses the login, or it is no administrator's.")
    if status >= http.HTTPStatus.MULTIPLE_CHOICES:
        raise OpsError(f"RabbitMQ's users cannot be made: its management page answers {status}.")


@retry(
    retry=retry_if_exception_type(ConnectionError),
    stop=stop_after_delay(_START_S_MAX),
    wait=wait_fixed(0.5),
    reraise=True,
)
def _post(document: str, administrator_url: str, management_url: str) -> int:
    login, place = urlsplit(administrator_url), urlsplit(management_url)
    credentials = f"{unquote(login.username or '')}:{unquote(login.password or '')}"
    headers = {
        "Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}",
        "Content-Type": "application/json",
    }
    kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
    connection = kind(place.hostname or "", place.port, timeout=_ANSWER_S_MAX)
    try:
        connection.request("POST", f"{place.path.rstrip('/')}/api/definitions", document, headers)
        return connection.getresponse().status
    finally:
        connection.close()

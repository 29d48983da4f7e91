"""Every kind of process logs in to the private servers as itself. Servers that were given know one login, for all."""

from dataclasses import replace

from db import roles
from ops import rabbitmq_users
from ops.local.servers import Servers
from ops.local.supervision import Program

OPERATOR = "operator"
"""For the commands of `wbs`."""
_IN_MEMORY = "actors.in_memory"

_DATABASE_ROLES = {
    "gateway": roles.GATEWAY,
    "relay": roles.RELAY,
    "actors": roles.ACTORS,
    "reconciler": roles.RECONCILER,
    "courier": roles.COURIER,
    _IN_MEMORY: roles.IN_MEMORY,
    OPERATOR: roles.OPERATOR,
}

_RABBITMQ_USERS = {
    "relay": rabbitmq_users.RELAY,
    "actors": rabbitmq_users.ACTORS,
    "reconciler": rabbitmq_users.RECONCILER,
    OPERATOR: rabbitmq_users.OPERATOR,
}


def logins(kind: str, chosen: Servers) -> dict[str, str]:
    """Return the settings with the logins of a kind of process; none for a server that was given."""
    found = {}
    if chosen.postgres is not None and kind in _DATABASE_ROLES:
        found["DATABASE_URL"] = chosen.postgres.url(_DATABASE_ROLES[kind])
    if chosen.rabbitmq is not None and kind in _RABBITMQ_USERS:
        found["RABBITMQ_URL"] = chosen.rabbitmq.url(_RABBITMQ_USERS[kind])
    return found


def with_own_logins(program: Program, chosen: Servers) -> Program:
    """Return the program with the logins of its kind, instead of those that it was to be told."""
    kind = _IN_MEMORY if program.argv[-1] == _IN_MEMORY else program.kind
    own = {name: url for name, url in logins(kind, chosen).items() if name in program.environment}
    return replace(program, environment={**program.environment, **own})

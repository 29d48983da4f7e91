"""The PostgreSQL and the broker of a stack: given ones, private ones, or the in-memory broker."""

from collections.abc import Mapping
from dataclasses import dataclass

from db.roles import OWNER
from ops.errors import OpsError
from ops.local import postgres, rabbitmq
from ops.local.postgres import Postgres
from ops.local.progress import Progress
from ops.local.rabbitmq_node import RabbitMQ
from ops.rabbitmq_users import ADMINISTRATOR
from ops.state import StateDir

NO_RABBITMQ = """\
RabbitMQ: NONE here and none can be installed. One process runs relay and actors on Dramatiq's
          in-memory broker. Nothing can be lost (the outbox is in PostgreSQL), but there is no
          management page and no dead-letter queue. For the real thing: `apt-get install
          rabbitmq-server` as root, or set RABBITMQ_URL."""


@dataclass(frozen=True)
class Servers:
    """The servers that the processes connect to. `postgres` and `rabbitmq` are set only for private ones.

    The URLs of private servers are their administrator's; processes get logins of their own (`ops.local.logins`).
    """

    database_url: str
    rabbitmq_url: str  # empty: in-memory broker
    management_url: str  # RabbitMQ's management page, empty if unknown
    postgres: Postgres | None = None
    rabbitmq: RabbitMQ | None = None

    @property
    def owner_url(self) -> str:
        """The URL of the database for the owner of its schema: for migrations, dumps and restores."""
        return self.database_url if self.postgres is None else self.postgres.url(OWNER)


def choose(state: StateDir, environment: Mapping[str, str], progress: Progress) -> Servers:
    """Take what the environment names, prepare the rest, start nothing. Raises OpsError if something is impossible.

    `WBS_BROKER=memory` asks for the in-memory broker, `WBS_POSTGRES=embedded` for the wheel's PostgreSQL.
    """
    wanted = environment.get("WBS_BROKER", "") or "auto"
    if wanted not in ("auto", "memory"):
        raise OpsError(f"WBS_BROKER is {wanted!r}: it must be auto or memory.")
    server = None
    database_url = environment.get("DATABASE_URL", "")
    if database_url:
        progress.say("PostgreSQL: the one of DATABASE_URL")
    else:
        server = postgres.prepare(state, environment, progress)
        database_url = server.administrator_url
        progress.say(f"PostgreSQL {server.version}: private server on 127.0.0.1:{server.port}")
    rabbitmq_url = environment.get("RABBITMQ_URL", "")
    management_url = environment.get("WBS_RABBITMQ_MANAGEMENT_URL", "")
    node = None
    if rabbitmq_url:
        progress.say("RabbitMQ: the one of RABBITMQ_URL")
    elif wanted == "auto":
        node = rabbitmq.prepare(state, environment, progress)
        if node is not None:
            rabbitmq_url, management_url = node.url(ADMINISTRATOR), node.management_url
            progress.say(f"RabbitMQ: {node.source} on 127.0.0.1:{node.amqp_port}")
        else:
            progress.say(NO_RABBITMQ)
    else:
        progress.say("RabbitMQ: none (WBS_BROKER=memory); relay and actors run in one process")
    return Servers(database_url, rabbitmq_url, management_url, server, node)

"""A private RabbitMQ node as the rest of `wbs up` sees it, wherever it runs."""

import base64
import http.client
from dataclasses import dataclass, field

from ops.local.ports import accepts
from ops.local.postgres_binaries import Account
from ops.rabbitmq_users import OPERATOR


@dataclass(frozen=True)
class RabbitMQ:
    """A configured private node, not necessarily running."""

    source: str  # its origin, for people
    amqp_port: int
    management_port: int
    prometheus_port: int
    passwords: dict[str, str]  # by user
    argv: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    epmd_argv: list[str] | None = None
    container: str | None = None  # name of the Docker container, if it runs in one
    epmd_port: int | None = None
    account: Account | None = None  # the user as whom root runs it; None: it runs as ourselves

    def url(self, user: str) -> str:
        """Return the AMQP URL for a user, with the password."""
        return f"amqp://{user}:{self.passwords[user]}@127.0.0.1:{self.amqp_port}/%2F"

    @property
    def management_url(self) -> str:
        """The address of the management page, without a login."""
        return f"http://127.0.0.1:{self.management_port}"

    def listens(self) -> bool:
        """Tell whether it takes AMQP connections; it does a second before the management page is there."""
        return accepts(self.amqp_port)

    def ready(self) -> bool:
        """Tell whether it takes AMQP connections and the management page answers our login."""
        if not self.listens():
            return False
        connection = http.client.HTTPConnection("127.0.0.1", self.management_port, timeout=2)
        login = base64.b64encode(f"{OPERATOR}:{self.passwords[OPERATOR]}".encode()).decode()
        try:
            connection.request("GET", "/api/overview", headers={"Authorization": f"Basic {login}"})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

"""The users as whom root runs the private servers: PostgreSQL refuses root, and RabbitMQ needs none of its rights."""

import os
import pwd
from pathlib import Path

from ops.errors import OpsError
from ops.local.postgres_binaries import Account, run_as
from ops.state import StateDir


def server_account(state: StateDir, server: str) -> Account | None:
    """Return the user as whom root runs a server: always the same, who owns the data. None: we are not root.

    It is the server's own user, `postgres` or `rabbitmq`, if there is one, else `nobody`.
    """
    if os.geteuid() != 0:
        return None
    known = state.recall(server, "account")
    for name in [known] if known else [server, "nobody"]:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        state.remember(server, "account", name)
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise OpsError(
        f"{server} does not run as root here and there is no user `{server}` or `nobody` to run it as: "
        "start as an ordinary user, or set DATABASE_URL and RABBITMQ_URL."
    )


def writable(folder: Path, account: Account | None) -> bool:
    """Tell whether the server's user can get there and write."""
    probe = folder / ".probe"
    return run_as(account, ["/bin/sh", "-c", 'touch "$0" && rm "$0"', str(probe)]).returncode == 0

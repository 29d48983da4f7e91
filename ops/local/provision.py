"""PostgreSQL and RabbitMQ alone, for tests and tools that bring their own processes."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ops.local.progress import Progress
from ops.local.stack import Stack


@dataclass(frozen=True)
class PrivateServers:
    """Running servers. `stack` stops and starts them (`stop_kind("rabbitmq")`) and knows their pids."""

    database_url: str
    rabbitmq_url: str  # empty if there is no RabbitMQ and none can be installed
    management_url: str  # RabbitMQ's HTTP API, with the login of rabbitmq_url
    stack: Stack


@contextlib.contextmanager
def private_servers(
    state_dir: Path | str,
    *,
    rabbitmq: bool = True,
    env: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    delete: bool = False,
) -> Iterator[PrivateServers]:
    """Start the servers (or take those of DATABASE_URL and RABBITMQ_URL), and stop them at the end of the block.

    Data stays in `state_dir`, so that the next start is quick; `delete` removes it. Raises OpsError as
    `Stack.start` does.
    """
    overrides = {**(env or {}), **({} if rabbitmq else {"WBS_BROKER": "memory", "RABBITMQ_URL": ""})}
    stack = Stack(state_dir, env=overrides, servers_only=True, progress=progress)
    try:
        with stack:
            assert stack.servers is not None
            chosen = stack.servers
            yield PrivateServers(chosen.database_url, chosen.rabbitmq_url, chosen.management_url, stack)
    finally:
        if delete:
            stack.state.delete()

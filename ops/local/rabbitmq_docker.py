"""A private RabbitMQ node in a Docker container."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Mapping

from ops.local.ports import private_port
from ops.local.rabbitmq_node import RabbitMQ
from ops.rabbitmq_users import USERS, definitions
from ops.state import StateDir, write_private

DOCKER_IMAGE = "rabbitmq:3.13.7-management"
_CONF = "docker.conf"
_CONFIGURATION = "load_definitions = /etc/rabbitmq/wbs-definitions.json\n"
_ON_LOOPBACK = [
    *("-e", "RABBITMQ_NODENAME=rabbit@localhost"),
    *("-e", "ERL_EPMD_ADDRESS=127.0.0.1"),
    *("-e", "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}"),
]
"""Other containers must not get at the ports between Erlang's nodes."""


def running_docker(environment: Mapping[str, str]) -> str | None:
    """Return the docker command, if an engine answers (often only the client is there)."""
    docker = shutil.which("docker", path=environment.get("PATH", os.defpath))
    if docker is None:
        return None
    try:
        answer = subprocess.run(
            [docker, "info"], capture_output=True, stdin=subprocess.DEVNULL, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return docker if answer.returncode == 0 else None


def in_docker(state: StateDir, docker: str) -> RabbitMQ:
    """Return a container of ours alone, data in a named volume, ports on loopback."""
    names = ("amqp", "management", "rabbitmq_prometheus")
    ports = {name: private_port(state, name) for name in names}
    passwords = {name: state.secret(f"rabbitmq_{name}") for name in USERS}
    container = f"wbs-{state.digest}"
    home = state.root / "rabbitmq"
    home.mkdir(mode=0o700, exist_ok=True)
    files = {
        "definitions.json": ("/etc/rabbitmq/wbs-definitions.json", definitions(passwords)),
        _CONF: ("/etc/rabbitmq/conf.d/90-wbs.conf", _CONFIGURATION),
    }
    mounts = []
    for name, (place, text) in files.items():
        write_private(home / name, text)
        (home / name).chmod(0o644)  # the server is another user there; here nobody else gets into the folder
        mounts += ["-v", f"{home / name}:{place}:ro"]
    published = [
        *("-p", f"127.0.0.1:{ports['amqp']}:5672"),
        *("-p", f"127.0.0.1:{ports['management']}:15672"),
        *("-p", f"127.0.0.1:{ports['rabbitmq_prometheus']}:15692"),
    ]
    return RabbitMQ(
        source=f"Docker container {container} of {DOCKER_IMAGE}",
        amqp_port=ports["amqp"],
        management_port=ports["management"],
        prometheus_port=ports["rabbitmq_prometheus"],
        passwords=passwords,
        argv=[
            *(docker, "run", "--rm", "--name", container, "--hostname", container),
            *("-v", f"{container}:/var/lib/rabbitmq"),
            *mounts,
            *published,
            *_ON_LOOPBACK,
            DOCKER_IMAGE,
        ],
        container=container,
    )


def remove_volume(state: StateDir, environment: Mapping[str, str]) -> None:
    """Remove the data of a node that ran in Docker: they are not in the state folder."""
    docker = shutil.which("docker", path=environment.get("PATH", os.defpath))
    if docker is None or not (state.root / "rabbitmq" / _CONF).exists():
        return
    removing = [docker, "volume", "rm", "-f", f"wbs-{state.digest}"]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(removing, capture_output=True, stdin=subprocess.DEVNULL, timeout=10, check=False)

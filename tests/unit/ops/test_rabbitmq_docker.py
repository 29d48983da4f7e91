"""RabbitMQ of `wbs up` where only Docker is there: what its container is told, and that nothing of it stays."""

import json
import stat
from pathlib import Path

import pytest

from ops.local.rabbitmq_docker import in_docker, remove_volume
from ops.rabbitmq_users import USERS
from ops.state import StateDir


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    state = StateDir(tmp_path / "state")
    state.create()
    return state


def test_a_user_for_each_kind_and_no_password_in_the_open(state: StateDir) -> None:
    """Goal: the container loads all users by their hashes; no command line and no file has a password."""
    node = in_docker(state, "docker")
    assert node.passwords.keys() == USERS.keys()
    assert len(set(node.passwords.values())) == len(USERS)
    for name, password in node.passwords.items():
        assert node.url(name) == f"amqp://{name}:{password}@127.0.0.1:{node.amqp_port}/%2F"
    folder = state.root / "rabbitmq"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700, "what is in it, the server may read as another user"
    told = " ".join(node.argv) + "".join(path.read_text(encoding="utf-8") for path in folder.iterdir())
    assert not [name for name, password in node.passwords.items() if password in told]
    defined = json.loads((folder / "definitions.json").read_text(encoding="utf-8"))
    assert {user["name"] for user in defined["users"]} == USERS.keys()
    mounts = [node.argv[at + 1] for at, word in enumerate(node.argv) if word == "-v"]
    inside = {mount.split(":")[1] for mount in mounts}
    configuration = (folder / "docker.conf").read_text(encoding="utf-8")
    assert configuration.removeprefix("load_definitions = ").strip() in inside
    assert all(mount.endswith(":ro") for mount in mounts if mount.startswith(str(state.root)))


def test_only_loopback_reaches_it(state: StateDir) -> None:
    """Goal: ports are published on loopback, and those between Erlang's nodes not even to other containers."""
    argv = in_docker(state, "docker").argv
    published = [argv[at + 1] for at, word in enumerate(argv) if word == "-p"]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    told = [argv[at + 1] for at, word in enumerate(argv) if word == "-e"]
    assert "RABBITMQ_NODENAME=rabbit@localhost" in told
    assert "ERL_EPMD_ADDRESS=127.0.0.1" in told
    assert any("inet_dist_use_interface {127,0,0,1}" in word for word in told)


@pytest.mark.parametrize("ran_in_docker", [True, False])
def test_reset_removes_its_volume(state: StateDir, tmp_path: Path, ran_in_docker: bool) -> None:
    """Goal: `wbs reset` removes the queues of a node in Docker, too, and calls no Docker where none was used."""
    asked = tmp_path / "asked"
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n', encoding="utf-8")
    docker.chmod(0o755)
    if ran_in_docker:
        in_docker(state, str(docker))
    remove_volume(state, {"PATH": str(tmp_path)})
    assert asked.exists() == ran_in_docker
    if ran_in_docker:
        assert asked.read_text(encoding="utf-8") == f"volume rm -f wbs-{state.digest}\n"

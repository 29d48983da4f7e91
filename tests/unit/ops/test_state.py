"""The state folder, ports and process identities."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ops import processes, state
from ops.environment import load_environment
from ops.errors import OpsError
from ops.local import ports
from ops.state import StateDir


@pytest.fixture
def folder(tmp_path: Path) -> StateDir:
    made = StateDir(tmp_path / ".wbs")
    made.create()
    return made


def test_secrets_are_made_once_and_readable_by_the_owner_only(folder: StateDir) -> None:
    """Goal: a restart keeps the passwords, and nobody else on the machine reads them."""
    first = folder.secret("rabbitmq_password")
    assert len(first) == 48
    assert StateDir(folder.root).secret("rabbitmq_password") == first
    assert folder.secret("postgres_password") != first
    assert folder.private_file.stat().st_mode & 0o777 == 0o600


def test_a_port_is_kept_until_somebody_else_takes_it(folder: StateDir) -> None:
    """Goal: addresses are stable over restarts, and a taken port is no failure."""
    port = ports.private_port(folder, "postgres")
    assert ports.PORT_MIN <= port < 32_768, "below the range that outgoing connections use"
    assert ports.private_port(folder, "postgres") == port
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen(1)
        moved = ports.private_port(folder, "postgres")
    assert moved != port
    assert ports.private_port(folder, "amqp") != moved


def test_a_taken_port_is_one_sentence_with_the_mend() -> None:
    """Goal: the message names the port, who holds it, and the setting to change."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        port = other.getsockname()[1]
        with pytest.raises(OpsError) as refusal:
            ports.require_free(port, "127.0.0.1", what="the API", setting="WBS_HTTP_PORT", ours=())
    text = str(refusal.value)
    assert f"Port {port}" in text
    assert "WBS_HTTP_PORT=" in text
    assert f"pid {os.getpid()}" in text


def test_a_process_is_ours_only_with_its_start_time(folder: StateDir) -> None:
    """Goal: a process that got a reused pid is never ended."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        processes.record(folder, "relay", child.pid)
        identity = processes.recorded(folder, "relay")
        assert identity is not None
        assert identity.pid == child.pid
        later = processes.Identity(child.pid, identity.start_ticks + 1, identity.boot_id)
        assert not later.alive()
        processes.end([later])
        assert child.poll() is None, "the stranger with our pid lives"
        processes.end([identity])
        assert child.wait(timeout=60) != 0
        assert processes.recorded(folder, "relay") is None
    finally:
        child.kill()
        child.communicate()


def test_two_commands_do_not_work_in_one_folder_at_once(folder: StateDir) -> None:
    """Goal: a second `wbs up` says that another one is running."""
    with folder.lock(), pytest.raises(OpsError, match="Another `wbs up`"), StateDir(folder.root).lock():
        pass


def test_the_control_socket_fits_however_long_the_path_is(tmp_path: Path) -> None:
    """Goal: a unix socket path has 108 bytes; a deep state folder gets a shorter one, its owner's alone."""
    deep = StateDir(tmp_path / ("x" * 120) / ".wbs")
    deep.create()
    path = deep.control_socket
    assert not path.parent.exists(), "to ask for it makes nothing"
    try:
        deep.make_socket_folder()
        assert len(os.fsencode(path)) <= state.SOCKET_PATH_LENGTH_MAX
        assert path.parent.stat().st_mode & 0o777 == 0o700
    finally:
        deep.remove_socket_folder()
    assert not path.parent.exists()


def test_what_lies_outside_is_removed_with_its_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: a deleted checkout leaves no data folder behind for ever; one that exists keeps its own."""
    outside = tmp_path / "outside"
    outside.mkdir()
    monkeypatch.setattr(state, "PUBLIC_BASE", outside)
    kept, gone = StateDir(tmp_path / "kept"), StateDir(tmp_path / "gone")
    kept.create()
    for one in (kept, gone):
        one.make_public_folder()
    state.remove_orphans()
    assert kept.public_folder.exists()
    assert not gone.public_folder.exists()


def test_somebody_elses_folder_is_refused(tmp_path: Path) -> None:
    """Goal: in a place where everybody may write, a folder (or link) put there by another is not trusted."""
    target = tmp_path / "target"
    target.mkdir()
    link = tmp_path / "wbs-1"
    link.symlink_to(target)
    with pytest.raises(OpsError, match="not ours"):
        state.make_own_folder(link, 0o700)


def test_other_commands_find_the_running_stack(folder: StateDir) -> None:
    """Goal: `wbs audit` reads the stack's environment; what the caller sets counts more."""
    state.write_json(folder.env_file, {"DATABASE_URL": "postgresql://a", "WBS_HTTP_PORT": "1"})
    processes.record(folder, processes.SUPERVISOR, os.getpid())
    found = load_environment({"WBS_STATE_DIR": str(folder.root), "WBS_HTTP_PORT": "2", "RABBITMQ_URL": ""})
    assert found["DATABASE_URL"] == "postgresql://a"
    assert found["WBS_HTTP_PORT"] == "2"


def test_what_a_killed_stack_left_is_no_running_stack(folder: StateDir) -> None:
    """Goal: after a kill -9 no command reaches for the ports that the stack had: another program may have them now."""
    state.write_json(folder.env_file, {"DATABASE_URL": "postgresql://a"})
    ended = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    processes.record(folder, processes.SUPERVISOR, ended.pid)
    own = {"WBS_STATE_DIR": str(folder.root)}
    assert load_environment(own)["DATABASE_URL"] == "postgresql://a"
    ended.kill()
    ended.communicate()
    assert load_environment(own) == own

"""Supervision with one real server: a killed process comes back, a leftover one is found and ended."""

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from ops import processes
from ops.local import supervision
from ops.local.ports import is_free
from ops.local.stack import AlreadyRunning, Stack
from tests.polling import wait_until

BACK_S = 5.0
POSTGRES_ONLY = {"DATABASE_URL": "", "RABBITMQ_URL": "", "WBS_BROKER": "memory"}


def make_stack(folder: Path) -> Stack:
    return Stack(folder, env=POSTGRES_ONLY, servers_only=True)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = make_stack(tmp_path / "wbs")
    try:
        with made:
            yield made
    finally:
        made.stop()
        made.state.delete()


def pid_of_postgres(stack: Stack) -> int:
    return next(iter(stack.pids("postgres")), 0)


def another_runs(stack: Stack, killed: int) -> bool:
    return pid_of_postgres(stack) not in (0, killed)


def test_a_killed_server_is_back_every_time(stack: Stack) -> None:
    """Goal: kill -9 after kill -9, always back within 5 s: no growing pause and no giving up."""
    took = []
    for _ in range(4):
        killed = pid_of_postgres(stack)
        started = time.monotonic()
        os.kill(killed, signal.SIGKILL)
        wait_until(partial(another_runs, stack, killed))
        took.append(time.monotonic() - started)
        assert stack.servers is not None
        assert stack.servers.postgres is not None
        wait_until(stack.servers.postgres.ready)
    # The machine may be slow for a while. A growing pause is seen in the last ones, a constant one in all.
    assert min(took[2:]) < BACK_S, took


def test_a_stopped_program_stays_stopped(stack: Stack) -> None:
    """Goal: tests and chaos can take a server away and give it back."""
    stack.stop_kind("postgres")
    assert stack.ps() == []
    stack.start_kind("postgres")
    wait_until(lambda: pid_of_postgres(stack))
    stack.wait_healthy()


def test_a_running_stack_is_not_started_twice(stack: Stack) -> None:
    """Goal: the second start says so and disturbs nothing."""
    pid = pid_of_postgres(stack)
    with pytest.raises(AlreadyRunning, match="already running"):
        make_stack(stack.state.root).start()
    assert pid_of_postgres(stack) == pid


def test_nothing_outlives_a_killed_supervisor(stack: Stack) -> None:
    """Goal: kill -9 of the supervisor ends its programs, and the next start finds the data."""
    supervisord = processes.recorded(stack.state, supervision.NAME)
    server = processes.identify(pid_of_postgres(stack))
    assert supervisord is not None
    assert server is not None
    os.kill(supervisord.pid, signal.SIGKILL)
    wait_until(lambda: not server.alive())
    again = make_stack(stack.state.root)
    with again:
        assert pid_of_postgres(again) not in (0, server.pid)
    assert again.ps() == []


def test_leftovers_without_a_supervisor_are_ended(stack: Stack) -> None:
    """Goal: `wbs down` ends a server that was frozen while its supervisor was killed."""
    supervisord = processes.recorded(stack.state, supervision.NAME)
    server = processes.identify(pid_of_postgres(stack))
    assert supervisord is not None
    assert server is not None
    os.kill(server.pid, signal.SIGSTOP)
    os.kill(supervisord.pid, signal.SIGKILL)
    wait_until(lambda: not supervisord.alive() or psutil.Process(supervisord.pid).status() == "zombie")
    assert server.alive()
    assert stack.stop()
    assert not server.alive()


def test_a_frozen_child_of_a_killed_server_is_ended(stack: Stack) -> None:
    """Goal: PostgreSQL's processes end when their parent is killed; one that was frozen then can't."""
    supervisord = processes.recorded(stack.state, supervision.NAME)
    server = processes.identify(pid_of_postgres(stack))
    assert supervisord is not None
    assert server is not None
    child = processes.identify(psutil.Process(server.pid).children()[0].pid)
    assert child is not None
    os.kill(child.pid, signal.SIGSTOP)
    os.kill(supervisord.pid, signal.SIGKILL)
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not server.alive())
    assert child.alive()
    assert stack.stop()
    assert not child.alive()


def test_what_was_started_is_gone_after_stop(tmp_path: Path) -> None:
    """Goal: no process, port, environment file or folder outside of a stopped stack is left."""
    made = make_stack(tmp_path / ("x" * 100) / "wbs")  # too long a path for a socket
    with made:
        outside = made.state.control_socket.parent
        assert outside.exists()
        assert tmp_path not in outside.parents
        assert made.servers is not None
        assert made.servers.postgres is not None
        port = made.servers.postgres.port
        assert not is_free(port)
    assert is_free(port)
    assert not made.state.env_file.exists()
    assert not outside.exists()
    assert not made.stop(), "nothing was left to stop"
    made.state.delete()
    assert not made.state.root.exists()

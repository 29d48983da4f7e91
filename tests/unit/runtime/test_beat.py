"""The beat, who judges it, and the parent of a container's process."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from runtime import beat, probe
from tests.polling import poll_until, wait_until

BEATING = """
import os, sys, threading, time
def beat():
    while True:
        open(os.environ["WBS_BEAT_FILE"], "a").close(); os.utime(os.environ["WBS_BEAT_FILE"]); time.sleep(0.1)
threading.Thread(target=beat, daemon=True).start()
print(os.getpid(), flush=True)
"""


class Clock:
    """A monotonic clock that tests set."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Watching:
    """A watcher that looks as often as it should, by a clock of its own."""

    def __init__(self, file: Path) -> None:
        self.clock = Clock()
        self.file = file
        self.stamp = 0
        self.watch = beat.BeatWatch(file, clock=self.clock)

    def beats(self, stamp: int | None = None) -> None:
        self.stamp = self.stamp + 1 if stamp is None else stamp
        self.file.touch()
        os.utime(self.file, ns=(self.stamp, self.stamp))

    def silent_after(self, seconds: float) -> bool:
        """Look for this time, twice per second; return whether the process was found silent."""
        for _ in range(int(seconds / beat.LOOK_S)):
            self.clock.now += beat.LOOK_S
            if self.watch.is_silent():
                return True
        return False


@pytest.fixture
def watching(tmp_path: Path) -> Watching:
    return Watching(tmp_path / "beat")


def test_one_that_beats_lives(watching: Watching) -> None:
    """Goal: a beat every few seconds is enough, for ever."""
    for _ in range(20):
        watching.beats()
        assert not watching.silent_after(9)


def test_one_that_stops_beating_is_silent_after_ten_seconds(watching: Watching) -> None:
    """Goal: frozen is dead: not before 10 s, and not much later."""
    watching.beats()
    assert not watching.silent_after(10)
    assert watching.silent_after(1)


def test_a_start_takes_its_time(watching: Watching) -> None:
    """Goal: a process may take longer to its first beat; what an earlier process left is none."""
    watching.beats()
    watching.watch = beat.BeatWatch(watching.file, clock=watching.clock)
    assert not watching.silent_after(59)
    assert watching.silent_after(2)


def test_a_clock_that_is_set_says_nothing(watching: Watching) -> None:
    """Goal: stamps of the past or the future are beats too: an NTP step kills no process and saves none."""
    for stamp in (10**18, 5, 10**15):
        watching.beats(stamp)
        assert not watching.silent_after(9.5)
    assert watching.silent_after(1)


def test_a_suspended_machine_is_forgiven(watching: Watching) -> None:
    """Goal: an hour in which the watcher did not run either kills no process; ten silent seconds more do."""
    watching.beats()
    assert not watching.silent_after(5)
    watching.clock.now += 3600
    assert not watching.watch.is_silent()
    assert not watching.silent_after(4)
    assert watching.silent_after(2)


async def test_no_beat_while_a_task_is_failing(tmp_path: Path) -> None:
    """Goal: a process whose work has stopped is as dead as a frozen one."""
    file = tmp_path / "beat"
    failing = ["writer"]
    measured = asyncio.Event()
    task = asyncio.create_task(beat.beat_for_ever(file, lambda: failing, measured.set))
    await asyncio.sleep(0)
    assert not file.exists()
    assert not measured.is_set(), "nor does Prometheus hear of one"
    failing.clear()
    await poll_until(file.exists)
    assert measured.is_set()
    task.cancel()


def test_the_probe(tmp_path: Path) -> None:
    """Goal: the probe says yes to a process that beats and no to one that only did."""
    environment = {**os.environ, "WBS_BEAT_FILE": str(tmp_path / "beat")}
    process = subprocess.Popen(
        [sys.executable, "-c", BEATING + "time.sleep(300)"], env=environment, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    command = [sys.executable, "-m", "runtime.probe"]
    assert subprocess.run(command, env=environment, check=False).returncode == 0
    process.send_signal(signal.SIGSTOP)
    said = subprocess.run(command, env=environment, check=False, capture_output=True)
    assert said.returncode == 1
    assert b"no beat" in said.stderr
    process.kill()
    process.wait()
    process.stdout.close()
    assert not probe.beats(tmp_path / "none", wait_s=0.1)


# --- The parent ---


class Parent:
    """`python -m runtime.parent` with a child of the test's."""

    def __init__(self, folder: Path, program: str) -> None:
        self.log = folder / "log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "runtime.parent", sys.executable, "-c", BEATING + program],
                env={**os.environ, "WBS_BEAT_FILE": str(folder / "beat")},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.child_pid = int(wait_until(lambda: self.log.read_bytes().split())[0])

    def code(self) -> int:
        return self.process.wait(60)


@pytest.fixture
def run_parent(tmp_path: Path) -> Iterator[Callable[[str], Parent]]:
    """`run_parent(program)`; it and its child are ended with the test."""
    started: list[Parent] = []

    def run(program: str) -> Parent:
        started.append(Parent(tmp_path, program))
        return started[-1]

    yield run
    for parent in started:
        if parent.process.poll() is None:
            parent.process.kill()
            parent.process.wait()


@pytest.mark.parametrize(
    ("program", "code"), [("", 0), ("sys.exit(7)", 7), ("import signal; os.kill(os.getpid(), 9)", 137)]
)
def test_the_parent_ends_as_its_child_does(
    run_parent: Callable[[str], Parent], program: str, code: int
) -> None:
    """Goal: the exit code is the child's, so that a supervisor sees what happened."""
    assert run_parent(program).code() == code


def test_the_parent_passes_signals_on(run_parent: Callable[[str], Parent]) -> None:
    """Goal: SIGTERM reaches the child, which ends in its own time; the parent waits for it."""
    program = """
import signal
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), os._exit(5)))
while True: signal.pause()
"""
    parent = run_parent(program)
    os.kill(parent.process.pid, signal.SIGTERM)
    assert parent.code() in (
        5,
        128 + signal.SIGTERM,
    )  # the latter if it came before the child's handler was set


def test_a_frozen_child_is_killed(run_parent: Callable[[str], Parent]) -> None:
    """Goal: Docker restarts no unhealthy container, but one whose process 1 has ended with a failure."""
    parent = run_parent("time.sleep(300)")
    child = psutil.Process(parent.child_pid)
    child.suspend()
    assert parent.code() == 1
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    assert "killed_without_a_beat" in parent.log.read_text()


def test_the_child_ends_with_its_parent(run_parent: Callable[[str], Parent]) -> None:
    """Goal: kill -9 of the parent leaves nothing behind."""
    parent = run_parent("time.sleep(300)")
    child = psutil.Process(parent.child_pid)
    parent.process.kill()
    parent.process.wait()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_a_command_that_is_not_there() -> None:
    """Goal: a wrong command is a sentence and an exit code."""
    ran = subprocess.run(
        [sys.executable, "-m", "runtime.parent", "no-such-command"], capture_output=True, check=False
    )
    assert ran.returncode == 127
    assert b"can_not_start" in ran.stderr

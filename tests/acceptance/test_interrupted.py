"""`make test` interrupted by Ctrl-C, by an end of make, or by a closed terminal."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from tests.polling import poll_until

ROOT = Path(__file__).parents[2]
STARTS_WITHIN_S = 120.0
ENDS_WITHIN_S = 90.0

HANGS = """
import json, os, signal, subprocess, sys
from pathlib import Path
from ops.local.provision import private_servers

def test_that_hangs(tmp_path):
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"
    stray = subprocess.Popen([sys.executable, "-c", deaf], start_new_session=True)
    with private_servers(tmp_path, rabbitmq=False, env={"DATABASE_URL": ""}) as servers:
        pids = [os.getpid(), stray.pid, *servers.stack.pids("postgres")]
        told = Path(os.environ["TOLD_FILE"])
        told.with_suffix(".new").write_text(json.dumps(pids))
        told.with_suffix(".new").rename(told)
        signal.pause()
"""


def start(folder: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Run `make test` on a test that starts servers and never ends."""
    hangs = folder / "test_hangs.py"
    hangs.write_text(HANGS, encoding="utf-8")
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    arguments = f"-c pyproject.toml --rootdir=. -p no:cacheprovider --basetemp={folder / 'base'} {hangs}"
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(
            ["make", "test", "WORKERS=1", f"PYTEST_ARGS={arguments}"],
            cwd=ROOT,
            env={**inherited, **environment, "MAKEFLAGS": ""},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def make(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal make alone."""
    os.kill(process.pid, number)


def group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal all that the terminal would."""
    os.killpg(process.pid, number)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tell", "number"),
    [
        (group, signal.SIGINT),
        (group, signal.SIGHUP),
        (make, signal.SIGINT),
        (make, signal.SIGTERM),
        (make, signal.SIGHUP),
        (make, signal.SIGKILL),
    ],
)
async def test_nothing_is_left_running(
    tell: Callable[[subprocess.Popen[bytes], signal.Signals], None], number: signal.Signals, tmp_path: Path
) -> None:
    """Goal: servers, and processes that hide in a session of their own, end with the run that started them."""
    told = tmp_path / "told.json"
    mark = uuid4().hex
    process = start(tmp_path, TOLD_FILE=str(told), MARK=mark)

    def started() -> bool:
        assert process.poll() is None, (tmp_path / "output").read_text(errors="replace")
        return told.exists()

    await poll_until(started, STARTS_WITHIN_S)
    pids = [int(pid) for pid in told.read_text().strip("[]").split(",")]
    started_at = {pid: psutil.Process(pid).create_time() for pid in pids}
    assert all(pid in running(mark) for pid in pids[:2])

    tell(process, number)

    deadline = time.monotonic() + ENDS_WITHIN_S
    assert process.wait(ENDS_WITHIN_S) != 0
    await poll_until(lambda: not running(mark), deadline - time.monotonic())
    for pid, at in started_at.items():
        assert not (psutil.pid_exists(pid) and psutil.Process(pid).create_time() == at)


def running(mark: str) -> set[int]:
    """Return the pids of all processes that inherited the run's environment."""
    found = set()
    for process in psutil.process_iter():
        try:
            if process.environ().get("MARK") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.add(process.pid)
        except psutil.Error:
            continue
    return found

"""If `wbs up` or `wbs down` fails, it prints one clear sentence and leaves nothing running."""

import asyncio
import os
import re
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pika
import psutil
import pytest

from ops.local.ports import FAMILIAR
from ops.local.programs import PAYOUTS_NICE
from ops.local.provision import private_servers
from ops.local.stack import Stack
from tests.conftest import execute
from tests.ports import free_port
from tests.service import defaults, run_wbs

NO_BROKER = {"WBS_BROKER": "memory"}
NO_DATABASE = {**NO_BROKER, "DATABASE_URL": "postgresql://127.0.0.1:1/none"}


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    """A state folder of a stack that was never started; nothing of it may run in the end."""
    folder = tmp_path / "state"
    yield folder
    assert at_work(folder) == []


def at_work(folder: Path) -> list[str]:
    """Return the command lines of all processes that have to do with a state folder."""
    found = []
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), *process.environ().values(), process.cwd()]
        except psutil.Error:
            continue
        if any(str(folder) in text for text in told):
            found.append(" ".join(process.cmdline()))
    return found


def ports() -> dict[str, str]:
    """Return settings that name free ports for the API and the bank."""
    return {"WBS_HTTP_PORT": str(free_port()), "WBS_BANK_PORT": str(free_port())}


def refused(folder: Path, *words: str, **settings: str) -> str:
    """Run a command that must fail; return the sentence that says why."""
    return failed(1, run_wbs(folder, *words, **settings))


def failed(code: int, ran: subprocess.CompletedProcess[str]) -> str:
    """Return the sentence that says why a command ended with this code, as it must have."""
    assert ran.returncode == code, ran.stdout + ran.stderr
    return sentence(ran)


def sentence(ran: subprocess.CompletedProcess[str]) -> str:
    """Return what a command says to be wrong, which is all that it says on standard error."""
    lines = [line for line in ran.stderr.splitlines() if not line.startswith("[")]  # not the progress
    assert lines[0].startswith("wbs: ")
    assert all(line.startswith("    ") for line in lines[1:]), ran.stderr  # the end of a log, if anything
    assert "Traceback" not in ran.stderr
    return lines[0]


@pytest.mark.parametrize("setting", ["WBS_HTTP_PORT", "WBS_BANK_PORT"])
def test_a_port_that_is_taken(state_dir: Path, setting: str) -> None:
    """Goal: the sentence names the port and the setting to change, before anything is started."""
    with closing(socket.create_server(("127.0.0.1", free_port()))) as taken:
        port = str(taken.getsockname()[1])
        said = refused(state_dir, "up", "--detach", **{**ports(), setting: port})
    assert f"Port {port}" in said
    assert "is taken" in said
    assert f"set {setting}" in said
    proposed = re.search(rf"{setting}=(\d+)\)", said)
    assert proposed is not None
    assert int(proposed[1]) not in FAMILIAR
    assert not (state_dir / "postgres").exists()


@pytest.mark.parametrize(("setting", "default"), [("WBS_HTTP_PORT", 8080), ("WBS_BANK_PORT", 8090)])
def test_a_default_port_that_is_taken(state_dir: Path, setting: str, default: int) -> None:
    """Goal: if no port was chosen and the usual one is taken, another one is used, with the reason."""
    settings = {name: port for name, port in ports().items() if name != setting}
    with socket.socket() as other:
        with suppress(OSError):  # or somebody else holds it already
            other.bind(("127.0.0.1", default))
            other.listen(1)
        for _ in range(2):  # the second time it is the same
            ran = run_wbs(state_dir, "up", "--detach", **NO_DATABASE, **settings)
            assert ran.returncode == 2
            assert "DATABASE_URL" in ran.stderr, "the port was no obstacle"
            [line] = [line for line in ran.stderr.splitlines() if "is taken" in line]
            told = re.search(rf"Port {default} is taken.* listens on (\d+) instead: .* Set {setting} ", line)
            assert told is not None, line
            assert int(told[1]) not in FAMILIAR | {int(text) for text in settings.values()}


def test_an_address_that_is_not_ours(state_dir: Path) -> None:
    """Goal: what can't be listened on for another reason is not called taken."""
    said = refused(state_dir, "up", "--detach", **NO_DATABASE, **ports(), WBS_HTTP_HOST="203.0.113.1")
    assert "203.0.113.1" in said
    assert "WBS_HTTP_HOST" in said
    assert "taken" not in said


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://127.0.0.1:1/none",
        "postgresql://127.0.0.1:notaport/none",
        "nonsense",
    ],
)
def test_a_database_that_is_not_there(state_dir: Path, url: str) -> None:
    """Goal: a broken DATABASE_URL is named as what to check, and what was started meanwhile is ended."""
    said = failed(2, run_wbs(state_dir, "up", "--detach", **NO_BROKER, **ports(), DATABASE_URL=url))
    assert "DATABASE_URL" in said


def test_a_database_that_never_answers(state_dir: Path) -> None:
    """Goal: `wbs up` stops waiting, within a bound, for a server that accepts connections and stays silent."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"postgresql://127.0.0.1:{silent.getsockname()[1]}/none"
        said = failed(2, run_wbs(state_dir, "up", "--detach", **NO_BROKER, **ports(), DATABASE_URL=url))
    assert "DATABASE_URL" in said
    assert ": )" not in said, "an error without words"


def test_a_server_that_will_not_start(state_dir: Path) -> None:
    """Goal: for a private PostgreSQL with damaged data `wbs up` shows the end of its log and the remedy."""
    with private_servers(state_dir, rabbitmq=False, env=defaults()):
        pass
    stack = Stack(state_dir)
    data = stack.state.recall("postgres", "data")
    (Path(data) / "global" / "pg_control").write_bytes(b"damaged")
    said = refused(state_dir, "up", "--detach", **NO_BROKER, **ports())
    assert "postgres" in said
    stack.state.delete()


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("WBS_LEASE_MS", "soon", "whole number"),
        ("WBS_LEASE_MS", "10", "WBS_ROUND_DEADLINE_MS"),
        ("WBS_HTTP_PORT", "70000", "65535"),
        ("WBS_BANK_PORT", "0", "at least 1"),
        ("WBS_BROKER", "kafka", "memory"),
        ("WBS_DEFAULT_CURRENCY", "dollar", "three capital letters"),
    ],
)
def test_a_setting_that_is_wrong(state_dir: Path, setting: str, value: str, says: str) -> None:
    """Goal: a bad setting is named, with what it should be."""
    said = refused(state_dir, "up", "--detach", **{**NO_DATABASE, **ports(), setting: value})
    assert setting in said
    assert says in said


def test_a_state_folder_that_cannot_be(tmp_path: Path) -> None:
    """Goal: a state folder that can't be written is named, with the setting to change."""
    (tmp_path / "file").write_text("not a folder")
    said = refused(tmp_path / "file" / "state", "up", "--detach", **NO_BROKER)
    assert "WBS_STATE_DIR" in said


def test_who_waits_comes_first(stack: Stack) -> None:
    """Goal: where all processors are busy, payouts yield to gateways and PostgreSQL, and so does RabbitMQ."""
    niceness = {str(row["kind"]): psutil.Process(int(row["pid"])).nice() for row in stack.ps()}
    own = os.nice(0)
    yielding = {kind for kind, nice in niceness.items() if nice == own + PAYOUTS_NICE}
    assert {"actors", "reconciler"} <= yielding <= {"actors", "reconciler", "relay", "rabbitmq"}
    assert {nice for kind, nice in niceness.items() if kind not in yielding} == {own}


def test_a_second_up(stack: Stack) -> None:
    """Goal: `wbs up` where a stack runs disturbs nothing: it says so, shows where it is, and that is no failure."""
    before = stack.ps()
    ran = run_wbs(stack.state.root, "up", "--detach")
    assert ran.returncode == 0
    assert "already running" in ran.stdout
    assert stack.urls["api"] in ran.stdout
    assert "Traceback" not in ran.stderr
    assert stack.ps() == before


def test_down_where_nothing_runs(state_dir: Path) -> None:
    """Goal: `wbs down` and `wbs ps` with nothing to stop or list say so; the end asked for is there already."""
    for _ in range(2):
        down = run_wbs(state_dir, "down")
        assert (down.returncode, down.stderr) == (0, "")
        assert down.stdout == f"Nothing is running in {state_dir}.\n"
    assert run_wbs(state_dir, "ps", "--json").stdout == "[]\n"
    assert not state_dir.exists()


def test_commands_that_need_a_stack(state_dir: Path) -> None:
    """Goal: without a stack the operator's commands fail with a sentence and their documented exit codes."""
    nowhere = {"DATABASE_URL": "postgresql://127.0.0.1:1/none"}
    assert "wbs up" in failed(2, run_wbs(state_dir, "migrate"))
    for words in (["audit"], ["dlq", "list"], ["reconcile"]):
        ran = run_wbs(state_dir, *words, **nowhere)
        assert ran.returncode == 2, words
        database, said = ran.stderr.splitlines()
        assert database == "wbs: database none on 127.0.0.1:1 (DATABASE_URL)"
        assert said.startswith("wbs ")


@pytest.mark.parametrize("name", ["José ", 'it\'s "$x" '])
def test_a_folder_of_any_name(name: str) -> None:
    """Goal: the private servers start below a folder of any name, also where no locale says how to spell it."""
    env = {"LC_ALL": "POSIX", "LANG": ""}
    with tempfile.TemporaryDirectory(prefix=name) as folder:
        Path(folder).chmod(0o755)  # as root, the servers are other users, who must get there
        with private_servers(Path(folder, "state"), env=defaults(**env), delete=True) as servers:
            asyncio.run(execute(servers.database_url, "select 1"))
            if not servers.rabbitmq_url:
                pytest.skip("no RabbitMQ here")
            pika.BlockingConnection(pika.URLParameters(servers.rabbitmq_url)).close()

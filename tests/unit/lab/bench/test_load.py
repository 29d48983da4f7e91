"""What the benchmark needs of a machine."""

from pathlib import Path

import pytest

from lab.bench.load import require_tools
from ops.errors import OpsError
from ops.local.progress import Progress


def test_without_wrk_and_a_way_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Goal: one sentence that says what to do."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("WBS_APT_INSTALL", "0")
    with pytest.raises(OpsError, match="apt-get install wrk"):
        require_tools(Progress())

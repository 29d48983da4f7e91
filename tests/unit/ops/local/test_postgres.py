"""The private PostgreSQL: its settings that depend on the machine, and which programs it is made of."""

import os
from pathlib import Path

import pytest

from ops.errors import OpsError
from ops.local import environment
from ops.local.postgres import shared_buffers_mb
from ops.local.postgres_binaries import candidate_folders, choose_binaries, version_of
from ops.local.servers import Servers
from ops.state import StateDir


@pytest.mark.parametrize(
    ("memory_gb", "expected_mb"), [(0.5, 128), (2, 256), (8, 1024), (24, 2048), (512, 2048)]
)
def test_the_cache_grows_with_the_machine(memory_gb: float, expected_mb: int) -> None:
    """Goal: a laptop gives an eighth of its memory, a small machine enough, a big one no more than 2 GB."""
    assert shared_buffers_mb(int(memory_gb * 2**30)) == expected_mb


def test_the_programs_that_are_named_are_used(tmp_path: Path) -> None:
    """Goal: WBS_POSTGRES_BIN chooses the PostgreSQL, and is refused by its name where there is none."""
    state = StateDir(tmp_path)
    last = list(candidate_folders(os.environ))[-1]
    named = {**os.environ, "WBS_POSTGRES_BIN": str(last)}
    assert choose_binaries(state, tmp_path, named, None) == (last, version_of(last, None))
    with pytest.raises(OpsError, match=f"WBS_POSTGRES_BIN is {tmp_path}: "):
        choose_binaries(state, tmp_path, named | {"WBS_POSTGRES_BIN": str(tmp_path)}, None)


def test_a_url_that_was_given_is_not_taken_for_our_own(tmp_path: Path) -> None:
    """Goal: `wbs up` shows the password of its own server only, whatever else the shell has set."""
    state = StateDir(tmp_path)
    state.create()
    base = {"WBS_HTTP_HOST": "127.0.0.1", "WBS_HTTP_PORT": "1", "WBS_BANK_PORT": "2"}
    base["WBS_POSTGRES_BIN"] = str(tmp_path)
    told = environment.complete(state, base, Servers("postgresql://me:s3cret@host/db", "", ""))
    assert "WBS_POSTGRES_BIN" not in told

"""The settings of the private PostgreSQL that depend on the machine."""

import pytest

from ops.local.postgres import shared_buffers_mb


@pytest.mark.parametrize(
    ("memory_gb", "expected_mb"), [(0.5, 128), (2, 256), (8, 1024), (24, 2048), (512, 2048)]
)
def test_the_cache_grows_with_the_machine(memory_gb: float, expected_mb: int) -> None:
    """Goal: a laptop gives an eighth of its memory, a small machine enough, a big one no more than 2 GB."""
    assert shared_buffers_mb(int(memory_gb * 2**30)) == expected_mb

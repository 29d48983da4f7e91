"""The settings of the private PostgreSQL that depend on the machine."""

import pytest

from ops.postgres import shared_buffers_mb


@pytest.mark.parametrize(
    ("memory_gb", "expected_mb"), [(1, 128), (4, 256), (8, 512), (24, 1024), (512, 1024)]
)
def test_the_cache_grows_with_the_machine(memory_gb: int, expected_mb: int) -> None:
    """Goal: a laptop gives a sixteenth of its memory, a small machine enough, a big one no more than 1 GB."""
    assert shared_buffers_mb(memory_gb * 2**30) == expected_mb

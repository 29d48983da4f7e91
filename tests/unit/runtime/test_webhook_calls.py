"""What calls to webhooks need is loaded by who makes some."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["gateway.app", "actors.worker", "actors.relay", "bank_sim.app"])
def test_who_has_called_nobody_has_loaded_no_http_client(module: str) -> None:
    """Goal: a process starts without aiohttp, which takes a third of the time that all the rest takes."""
    code = f"import sys, {module}; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0

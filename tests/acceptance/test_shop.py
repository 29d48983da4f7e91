"""The example of a shop: its README's command against a real stack says what the README says."""

import re
import subprocess
import sys
from pathlib import Path

from ops.local.stack import Stack
from tests.service import make_whole

SHOP = Path(__file__).parents[2] / "examples" / "shop"


def test_the_shop_and_its_books(stack: Stack) -> None:
    """Goal: top-up, hold, capture with a fee, half a refund and a payout: three books agree to the cent."""
    make_whole(stack)
    command = [
        sys.executable,
        str(SHOP / "shop.py"),
        "--api",
        stack.urls["api"],
        "--bank",
        stack.urls["bank"],
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = re.sub(r"-[0-9a-f]{8}", "-<run>", done.stdout)
    [block] = re.findall(r"```console\n\$ [^\n]*\n(.*?)```", (SHOP / "README.md").read_text(), re.DOTALL)
    assert [line.split() for line in said.splitlines()] == [line.split() for line in block.splitlines()]


def test_it_stays_small() -> None:
    """Goal: an example that is read in ten minutes."""
    assert len((SHOP / "shop.py").read_text().splitlines()) <= 130

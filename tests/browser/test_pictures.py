"""The README's pictures can be made anew, by `python -m lab.pictures`, from what is there."""

import json
from pathlib import Path

import pytest

from lab.pictures import BENCH, draw_rates, fill, shoot_console
from ops.local.stack import Stack
from tests.browser.test_docs import CHROMIUM
from tests.conftest import unavailable
from tests.service import make_whole

pytestmark = pytest.mark.browser
PNG = b"\x89PNG\r\n\x1a\n"


def test_the_rates_are_drawn(tmp_path: Path) -> None:
    """Goal: the benchmark's file has every rate that the picture shows."""
    draw_rates(json.loads(BENCH.read_text(encoding="utf-8")), tmp_path / "rates.png")
    assert (tmp_path / "rates.png").read_bytes().startswith(PNG)


def test_the_console_is_shot(stack: Stack, tmp_path: Path) -> None:
    """Goal: the console shows money that moves and money that is stuck, and a picture is taken of it."""
    if CHROMIUM is None:
        unavailable("no Chromium here")
    make_whole(stack)
    api = stack.urls["api"]
    fill(api, stack.urls["bank"])
    shoot_console(api, tmp_path / "console.png")
    picture = (tmp_path / "console.png").read_bytes()
    assert picture.startswith(PNG)
    assert int.from_bytes(picture[16:20]) >= 1100

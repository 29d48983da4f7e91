"""What `wbs` prints fits the terminal and says nothing to it but text."""

import pytest

from ops import tables
from ops.tables import ago, table


def test_a_table_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: the widest column gives way; numbers stand to the right; what clients wrote can't steer the terminal."""
    monkeypatch.setattr(tables, "width", lambda: 40)
    text = table(
        ("ID", "AMOUNT", "WHY"),
        [("x" * 8, "12.00 USD", "y" * 90), ("z", "1 USD", "\x1b[31mred")],
        right=("AMOUNT",),
    )
    lines = text.splitlines()
    assert max(map(len, lines)) <= 40
    assert lines[0].startswith("ID           AMOUNT  WHY")
    assert lines[1].startswith("xxxxxxxx  12.00 USD  yyyy")
    assert lines[1].endswith("…")
    assert "\x1b" not in text


def test_ages() -> None:
    """Goal: an age is said in the unit that people would use."""
    assert [ago(s) for s in (0, 90, 150, 7_200, 200_000)] == ["0 s", "90 s", "2 min", "2 h", "2 d"]

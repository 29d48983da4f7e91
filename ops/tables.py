"""Tables on the terminal: they fit its width, whatever is in them."""

import shutil
import sys
from collections.abc import Sequence

WIDTH_ELSEWHERE = 200
"""Columns of a table that is not shown on a terminal: for files and pipes nothing is cut that is of use."""
CELL_MIN = 8


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> str:
    """Return a table as text. Columns named in `right` are aligned to the right; the widest ones give way."""
    if not rows:
        return ""
    cells = [[plain(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    _fit(widths, width())
    lines = []
    for row in cells:
        parts = []
        for head, cell, space in zip(heads, row, widths, strict=True):
            text = cell if len(cell) <= space else f"{cell[: space - 1]}…"
            parts.append(text.rjust(space) if head in right else text.ljust(space))
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def width() -> int:
    """Return how many columns there are to fill."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH_ELSEWHERE


def _fit(widths: list[int], space: int) -> None:
    """Take from the widest columns until all of them fit, or none can give more."""
    while sum(widths) + 2 * (len(widths) - 1) > space and max(widths) > CELL_MIN:
        widths[widths.index(max(widths))] -= 1


def plain(cell: str) -> str:
    """Return a text without what would break the line or speak to the terminal: values come from clients."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in cell
    )


def ago(seconds: float) -> str:
    """Return an age as people say it: `12 s`, `3 min`, `5 h`, `2 d`."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"

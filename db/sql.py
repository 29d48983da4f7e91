"""Loads queries: each .sql file consists of blocks that begin with `-- name: the_name`.

A block may have named parts, between the lines `-- part: the_part` and `-- end of part`. Another block can be the same
statement without some of them; it then consists of the one line `-- write_some is write_all without one, another`.
"""

import re
from functools import cache
from pathlib import Path

_QUERIES = Path(__file__).parent / "queries"
_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)
_PART, _PART_END = "-- part: ", "-- end of part"
_WITHOUT = re.compile(r"-- (\w+) is (\w+) without (\w+(?:, \w+)*)")


@cache
def load(file: str, folder: Path | None = None) -> dict[str, str]:
    """Return the blocks of `file`.sql in `folder` (default: db/queries) by name.

    Raises ValueError if a name occurs twice, or KeyError if a block or a part is missing.
    """
    names_and_bodies = _NAME.split(((folder or _QUERIES) / f"{file}.sql").read_text(encoding="utf-8"))
    names, bodies = names_and_bodies[1::2], names_and_bodies[2::2]
    if len(set(names)) != len(names):
        raise ValueError(f"{file}.sql: a name stands twice")
    blocks = dict(zip(names, bodies, strict=True))
    return {name: _statement(blocks, name) for name in names}


def _statement(blocks: dict[str, str], name: str) -> str:
    body = blocks[name].strip()
    derived = _WITHOUT.fullmatch(body)
    parts = _parts(blocks[derived[2]] if derived else body)
    omitted = set(derived[3].split(", ")) if derived else set()
    if unknown := omitted - {part for part, _ in parts}:
        raise KeyError(f"{name}: there is no part {', '.join(sorted(unknown))}")
    kept = (text for part, text in parts if part not in omitted)
    return "".join(kept).strip().rstrip(";")


def _parts(body: str) -> list[tuple[str, str]]:
    """Return the text in pieces, each with the name of its part; the name is empty outside parts."""
    parts = [("", "")]
    for line in body.splitlines(keepends=True):
        if line.startswith(_PART):
            parts.append((line.removeprefix(_PART).strip(), ""))
        elif line.startswith(_PART_END):
            parts.append(("", ""))
        else:
            parts[-1] = (parts[-1][0], parts[-1][1] + line)
    return parts

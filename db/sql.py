"""Loads the queries: every .sql file in db/queries holds blocks that begin with `-- name: the_name`."""

import re
from functools import cache
from pathlib import Path

_QUERIES = Path(__file__).parent / "queries"
_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@cache
def load(file: str) -> dict[str, str]:
    """Return the blocks of db/queries/`file`.sql by name. Raises ValueError if a name stands twice."""
    parts = _NAME.split((_QUERIES / f"{file}.sql").read_text(encoding="utf-8"))
    names, bodies = parts[1::2], parts[2::2]
    if len(set(names)) != len(names):
        raise ValueError(f"{file}.sql: a name stands twice")
    return {name: body.strip().rstrip(";") for name, body in zip(names, bodies, strict=True)}

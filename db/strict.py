"""What the server answers, read strictly.

A row too few, a NULL where none can be, or another command tag is neither taken for something else nor for a bug of
ours: all of these raise `MalformedAnswer`, and whoever asked may ask again.
"""

from collections.abc import Collection, Sequence
from typing import Any

from db.errors import MalformedAnswer


def require(is_so: bool, what: str) -> None:
    """Raise MalformedAnswer, which says `what` can't be, unless `is_so`. Survives `python -O`, as no assert does."""
    if not is_so:
        raise MalformedAnswer(what)


def whole(row: Any, nullable: Collection[str] = ()) -> Any:
    """Return the row. Raises MalformedAnswer if there is none, or a column but the `nullable` ones is NULL."""
    if row is None:
        raise MalformedAnswer("no row")
    if None in row.values():
        for name, value in row.items():
            require(value is not None or name in nullable, f"{name} is NULL")
    return row


def one(rows: Sequence[Any], nullable: Collection[str] = ()) -> Any:
    """Return the only row, as `whole` does."""
    if len(rows) != 1:
        raise MalformedAnswer(f"{len(rows)} rows instead of one")
    return whole(rows[0], nullable)


def at_most_one(rows: Sequence[Any], nullable: Collection[str] = ()) -> Any:
    """Return the only row, as `one` does, or None where there is none."""
    return one(rows, nullable) if rows else None


def require_tag(tag: str, expected: str) -> None:
    """Raise MalformedAnswer unless the statement did exactly what its command tag should say: `DELETE 3`."""
    if tag != expected:
        raise MalformedAnswer(f"the answer was {tag} instead of {expected}")


def rows_of(tag: str, command: str) -> int:
    """Return how many rows a command (`UPDATE`, `INSERT 0`) says that it wrote. Raises MalformedAnswer."""
    said, _, number = tag.rpartition(" ")
    if said != command or not number.isdecimal():
        raise MalformedAnswer(f"the answer was {tag} instead of {command} and a number")
    return int(number)

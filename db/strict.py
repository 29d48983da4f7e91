"""Strict reading of the server's answers.

A row too few, an impossible NULL or a wrong command tag is neither misread nor taken for a bug of ours: each raises
`MalformedAnswer`, and the caller may try again.
"""

from collections.abc import Collection, Sequence
from typing import Any

from db.errors import MalformedAnswer


def require(is_so: bool, what: str) -> None:
    """Raise MalformedAnswer with the message `what` unless `is_so`. Unlike an assert, it survives `python -O`."""
    if not is_so:
        raise MalformedAnswer(what)


def whole(row: Any, nullable: Collection[str] = ()) -> Any:
    """Return the row. Raises MalformedAnswer if there is none, or if a column that is not `nullable` is NULL."""
    if row is None:
        raise MalformedAnswer("no row")
    if None in row.values():
        for name, value in row.items():
            if value is None and name not in nullable:
                raise MalformedAnswer(f"{name} is NULL")
    return row


def one(rows: Sequence[Any], nullable: Collection[str] = ()) -> Any:
    """Return the only row, as `whole` does."""
    if len(rows) != 1:
        raise MalformedAnswer(f"{len(rows)} rows instead of one")
    return whole(rows[0], nullable)


def at_most_one(rows: Sequence[Any], nullable: Collection[str] = ()) -> Any:
    """Return the only row, as `one` does, or None if there is none."""
    return one(rows, nullable) if rows else None


def require_tag(tag: str, expected: str) -> None:
    """Raise MalformedAnswer unless the statement's command tag is exactly the expected one, for example `DELETE 3`."""
    if tag != expected:
        raise MalformedAnswer(f"the answer was {tag} instead of {expected}")


def rows_of(tag: str, command: str) -> int:
    """Return the number of rows that a command (`UPDATE`, `INSERT 0`) wrote, by its tag. Raises MalformedAnswer."""
    said, _, number = tag.rpartition(" ")
    if said != command or not number.isdecimal():
        raise MalformedAnswer(f"the answer was {tag} instead of {command} and a number")
    return int(number)

"""Reads plants.sql and plants_transfers.sql: the errors to plant, and what the audit must say of each."""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from db.audit import Violation

_HEAD = re.compile(
    r"^-- plant: (?P<name>.*?)(?: \[(?P<values>.*)\])? => (?P<invariant>\d) (?P<kind>\S+): (?P<subject>.*)$"
)


class Plant(NamedTuple):
    """One way to spoil the books, and the violation that the audit must report."""

    name: str
    statement: str
    invariant: int
    kind: str
    subject: str

    def is_named(self, violation: Violation, names: Mapping[str, object]) -> bool:
        """Tell whether the violation is this one, where `names` stand for what the books hold."""
        return (
            violation.invariant == self.invariant
            and fnmatchcase(violation.kind, self.kind)
            and fnmatchcase(violation.subject, self.subject.format_map(names))
        )


def read_plants() -> list[Plant]:
    """Return all plants of both files."""
    plants: list[Plant] = []
    text = "\n\n".join(file.read_text() for file in sorted(Path(__file__).parent.glob("plants*.sql")))
    for block in text.split("\n\n"):
        head, _, statement = block.strip().partition("\n")
        if not (match := _HEAD.match(head)):
            continue
        values = match["values"].split(", ") if match["values"] else [""]
        for value in values:
            name, subject, kind = (match[part].replace("$", value) for part in ("name", "subject", "kind"))
            if value and value not in name:
                name = f"{name}: {value}"
            plants.append(Plant(name, statement.replace("$", value), int(match["invariant"]), kind, subject))
    return plants

"""What the checker found wrong."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

KEPT_MAX = 500


class Violation(NamedTuple):
    """One promise broken: which, where, what was expected and found, and the history's lines that show it."""

    rule: str
    subject: str
    expected: str
    found: str
    lines: tuple[int, ...] = ()

    def __str__(self) -> str:
        where = f" (history line {', '.join(map(str, self.lines))})" if self.lines else ""
        return f"{self.rule}: {self.subject}: expected {self.expected}; found {self.found}{where}"


@dataclass(slots=True)
class Findings:
    """All violations, counted by rule, the first `KEPT_MAX` kept; `checked` tells how much was looked at."""

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)

    def add(self, rule: str, subject: str, expected: str, found: str, *lines: int) -> None:
        """Write down a violation."""
        self.counts[rule] += 1
        if len(self.violations) < KEPT_MAX:
            self.violations.append(Violation(rule, subject, expected, found, tuple(lines[:8])))

    def merge(self, other: "Findings") -> None:
        """Add what others found."""
        self.counts.update(other.counts)
        self.violations += other.violations[: KEPT_MAX - len(self.violations)]
        self.checked.update(other.checked)

    @property
    def total(self) -> int:
        """How many violations there are, the kept ones and the others."""
        return self.counts.total()

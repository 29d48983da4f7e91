"""The checker's findings."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

KEPT_MAX = 500


class Violation(NamedTuple):
    """One broken promise: its rule, the place, the expected and the actual answer, and the history's lines as proof."""

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
    """All violations, counted by rule, of which the first `KEPT_MAX` are kept; `checked` counts the checked items."""

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)

    def add(self, rule: str, subject: str, expected: str, found: str, *lines: int) -> None:
        """Record a violation."""
        self.counts[rule] += 1
        if len(self.violations) < KEPT_MAX:
            self.violations.append(Violation(rule, subject, expected, found, tuple(lines[:8])))

    def merge(self, other: "Findings") -> None:
        """Add the findings of another part."""
        self.counts.update(other.counts)
        self.violations += other.violations[: KEPT_MAX - len(self.violations)]
        self.checked.update(other.checked)

    @property
    def total(self) -> int:
        """Number of violations, whether kept or not."""
        return self.counts.total()

"""What an audit found: everything is counted and added up, the first of each invariant are named."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

VIOLATIONS_MAX = 100
"""Violations of each invariant, and news on its way, that are named; the rest is only counted."""

Progress = Callable[[str], None]


class Violation(NamedTuple):
    """One thing that is wrong: which invariant (1 to 6), where, what was expected and what was found.

    `kind` is a stable name for this way of being wrong. `amount` is that of the row concerned, in minor units, or
    by how much two sums differ.
    """

    invariant: int
    kind: str
    subject: str
    expected: str
    found: str
    amount: int = 0
    currency: str = ""


@dataclass(slots=True)
class Tally:
    """How many violations there are of one kind in one currency, and their amounts added up (minor units)."""

    violations: int = 0
    amount: int = 0


@dataclass(slots=True)
class Findings:
    """What the audit has seen so far. `unsettled` is news from the bank that is still on its way to us."""

    violations: list[Violation] = field(default_factory=list)
    """The first of each invariant, at most VIOLATIONS_MAX each."""
    tallies: dict[tuple[int, str, str], Tally] = field(default_factory=dict)
    """All of them, by invariant, kind and currency."""
    unsettled: list[str] = field(default_factory=list)
    unsettled_total: int = 0
    checked: dict[str, int] = field(default_factory=dict)
    _found: dict[int, int] = field(default_factory=dict)

    def add(
        self,
        invariant: int,
        kind: str,
        subject: str,
        expected: object,
        found: object,
        *,
        amount: int | None = 0,
        currency: str | None = "",
    ) -> None:
        """Count a violation, and name it if not too many of its invariant are named already."""
        amount, currency = int(amount or 0), currency or ""
        tally = self.tallies.setdefault((invariant, kind, currency), Tally())
        tally.violations += 1
        tally.amount += amount
        self._found[invariant] = self._found.get(invariant, 0) + 1
        if self._found[invariant] <= VIOLATIONS_MAX:
            self.violations.append(
                Violation(invariant, kind, subject, str(expected), str(found), amount, currency)
            )

    def total(self, invariant: int | None = None) -> int:
        """Return how many violations there are, of one invariant or of all."""
        return sum(self._found.values()) if invariant is None else self._found.get(invariant, 0)

    def add_unsettled(self, news: str) -> None:
        """Count what the bank says and we are about to write down, and name the first."""
        self.unsettled_total += 1
        if self.unsettled_total <= VIOLATIONS_MAX:
            self.unsettled.append(news)

    def count(self, what: str, number: int) -> None:
        """Add to the number of things looked at."""
        self.checked[what] = self.checked.get(what, 0) + number

    def totals(self) -> list[dict[str, Any]]:
        """Return the tallies as JSON has them, in order."""
        return [
            {
                "invariant": invariant,
                "kind": kind,
                "currency": currency,
                "violations": tally.violations,
                "amount": tally.amount,
            }
            for (invariant, kind, currency), tally in sorted(self.tallies.items())
        ]

    def totals_text(self, invariant: int) -> list[str]:
        """Return the tallies of one invariant for people, a line each."""
        return [
            f"{tally.violations:,} × {kind}" + (f": {tally.amount:,} {currency}" if currency else "")
            for (number, kind, currency), tally in sorted(self.tallies.items())
            if number == invariant
        ]

"""The findings of an audit: all violations are counted and summed, and the first of each invariant are listed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

VIOLATIONS_MAX = 100
"""Number of violations listed per invariant, and number of unsettled items listed; the others are only counted."""

Progress = Callable[[str], None]


class Violation(NamedTuple):
    """One violation: the invariant (1 to 7), the place, the expected and the actual content.

    `kind` is a stable name for this type of violation. `amount` is the amount of the row concerned, in minor units, or
    the difference between two sums.
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
    """The number of violations of one kind in one currency, and the sum of their amounts (minor units)."""

    violations: int = 0
    amount: int = 0


def _minor_units(amount: int, currency: str) -> str:
    return f"{amount:,} minor units of {currency}"


@dataclass(slots=True)
class Findings:
    """The findings so far. `unsettled` lists the bank's words that are not recorded here yet."""

    spelled: Callable[[int, str], str] = _minor_units
    """Spells an amount of a currency for people."""
    violations: list[Violation] = field(default_factory=list)
    """The first violations of each invariant, at most VIOLATIONS_MAX each."""
    tallies: dict[tuple[int, str, str], Tally] = field(default_factory=dict)
    """All violations, by invariant, kind and currency."""
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
        """Count a violation, and list it unless too many of its invariant are listed already."""
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
        """Return the number of violations, of one invariant or of all."""
        return sum(self._found.values()) if invariant is None else self._found.get(invariant, 0)

    def add_unsettled(self, news: str) -> None:
        """Count a word of the bank that we are about to record, and list the first of these."""
        self.unsettled_total += 1
        if self.unsettled_total <= VIOLATIONS_MAX:
            self.unsettled.append(news)

    def count(self, what: str, number: int) -> None:
        """Add to the number of checked items."""
        self.checked[what] = self.checked.get(what, 0) + number

    def totals(self) -> list[dict[str, Any]]:
        """Return the tallies in their JSON form, in order."""
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
        """Return the tallies of one invariant for people, one line each."""
        return [
            f"{tally.violations:,} × {kind}"
            + (f": {self.spelled(tally.amount, currency)}" if currency else "")
            for (number, kind, currency), tally in sorted(self.tallies.items())
            if number == invariant
        ]

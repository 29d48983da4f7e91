"""What a chaos run reports: its intensity, and what was found."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from lab.chaos.checker import Findings


@dataclass
class Report:
    """The findings of a run, and its intensity."""

    seed: int
    seconds: float
    operations: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)
    kills: int = 0
    slowest_comeback_s: float = 0.0
    settled_s: float = 0.0
    healthy_s: float = 0.0
    findings: Findings = field(default_factory=Findings)

    @property
    def operations_per_s(self) -> float:
        """Calls of the load per second."""
        return self.operations.total() / self.seconds


def as_document(report: Report) -> dict[str, Any]:
    """Return the report as a JSON document."""
    findings = report.findings
    faults: dict[str, dict[str, int]] = {}
    for (action, target), count in sorted(report.faults.items()):
        faults.setdefault(action, {})[target] = count
    return {
        "ok": findings.total == 0,
        "seed": report.seed,
        "seconds": report.seconds,
        "operations_total": report.operations.total(),
        "operations_per_s": round(report.operations_per_s, 1),
        "operations": dict(sorted(report.operations.items())),
        "answers": dict(sorted(report.answers.items())),
        "faults_total": report.faults.total(),
        "kills_total": report.kills,
        "faults": faults,
        "slowest_comeback_s": round(report.slowest_comeback_s, 2),
        "healthy_s": round(report.healthy_s, 2),
        "settled_s": round(report.settled_s, 2),
        "checked": dict(sorted(findings.checked.items())),
        "violations_total": findings.total,
        "violations_by_rule": dict(sorted(findings.counts.items())),
        "violations": [violation._asdict() for violation in findings.violations],
    }

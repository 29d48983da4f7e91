"""Health: the service's reports about itself are true, even in unforeseen cases.

A report is not `ok` once writes have failed for 5 s. It is never red (503) while all writes have worked for 10 s and
still work afterwards: a report may be the first to meet an outage, or its end. The run itself waits until the service
is `ok` again after the healing, within a limit.
"""

import json
from typing import NamedTuple

from lab.chaos.checker.findings import Findings
from lab.chaos.history import Call

FAILED_S = 5.0
WORKED_S = 10.0
AHEAD_S = 2.0
"""Writes that fail within this time after a report confirm it."""
BACK_S = 1.0
"""A report may be the first to learn that writes work again, so long before the load does."""
FAILURES_MIN = 3
WORKED_MIN = 10

WRITES = frozenset({"charge", "withdraw"})
WORKED = frozenset({200, 202, 409, 422})
"""A refusal counts as working: the database was queried for it, or could have been."""
FAILED = frozenset({0, 503})


STOPPING = "stopping"
"""The reason given by a gateway that accepts no more requests because it is about to end."""


class Said(NamedTuple):
    """A health report, made between two moments."""

    line: int
    start: float
    end: float
    op: str
    status: int
    word: str


class HealthWitness:
    """Takes writes and health reports in any order, and compares them at the end."""

    def __init__(self) -> None:
        self._worked: list[tuple[float, float]] = []
        self._failed: list[tuple[float, float]] = []
        self._said: list[Said] = []

    def take(self, line: int, call: Call) -> None:
        """Take in a call of the load."""
        if call.phase != "load":
            return
        if call.op in WRITES:
            if call.status in WORKED:
                self._worked.append((call.start, call.end))
            elif call.status in FAILED:
                self._failed.append((call.start, call.end))
        elif call.op in ("health", "ready") and call.status:
            word = _word(call)
            if word == STOPPING:
                return  # true of this one gateway, whatever the others do
            self._said.append(Said(line, call.start, call.end, call.op, call.status, word))

    def check(self, findings: Findings) -> None:
        """Report false statements of health."""
        findings.checked["health_reports"] += len(self._said)
        outages = self._outages()
        for said in self._said:
            if said.word == "ok":
                for since, until in outages:
                    if said.start >= since + FAILED_S and said.end <= until - BACK_S:
                        found = f"/{said.op} said ok, {said.start - since:.1f} s after the last write worked"
                        findings.add("health_lied", f"second {said.start:.1f}", "not ok", found, said.line)
            elif said.status == 503 and self._all_worked_around(said.start):
                found = f"/{said.op} 503, while all writes had worked for {WORKED_S:.0f} s"
                findings.add("health_red", f"second {said.start:.1f}", "no 503", found, said.line)

    def _outages(self) -> list[tuple[float, float]]:
        """Return the periods in which no successful write was under way, and some failing writes were."""
        outages = []
        worked_until = 0.0
        failed = sorted(self._failed)
        for start, end in sorted(self._worked):
            if start - worked_until > FAILED_S:
                meanwhile = [one for one in failed if worked_until <= one[0] and one[1] <= start]
                if len(meanwhile) >= FAILURES_MIN:
                    outages.append((worked_until, start))
            worked_until = max(worked_until, end)
        return outages

    def _all_worked_around(self, moment: float) -> bool:
        since = moment - WORKED_S
        until = moment + AHEAD_S
        if since < 0 or any(end >= since and start <= until for start, end in self._failed):
            return False
        return sum(since <= start and end <= moment for start, end in self._worked) >= WORKED_MIN


def _word(call: Call) -> str:
    """Return a report in one word: `stopping`, or its status if it is not a 503."""
    try:
        report = json.loads(call.answer)
        if any(reason.get("code") == STOPPING for reason in report.get("reasons", ())):
            return STOPPING
        return str(report.get("status", "")) if call.status == 200 else ""
    except (ValueError, AttributeError):
        return ""

"""Health: what the service says of itself is true, also of what nobody foresaw.

Not `ok` once writes have failed for 5 s; never red (503) while they have all worked for 10 s, and go on doing so: a
report may be the first to meet an outage. How soon it is `ok` again after everything is well, the run itself waits for.
"""

import json
from typing import NamedTuple

from lab.chaos.checker.findings import Findings
from lab.chaos.history import Call

FAILED_S = 5.0
WORKED_S = 10.0
AHEAD_S = 2.0
"""Writes that fail so soon after a report bear it out."""
FAILURES_MIN = 3
WORKED_MIN = 10

WRITES = frozenset({"charge", "withdraw"})
WORKED = frozenset({200, 202, 422})
"""A refusal is one that the database was asked about, or could have been: it says nothing bad of the service."""
FAILED = frozenset({0, 503})


STOPPING = "stopping"
"""Reason of a gateway that takes no more requests because it is about to end."""


class Said(NamedTuple):
    """What a health report said between two moments."""

    line: int
    start: float
    end: float
    op: str
    status: int
    word: str


class HealthWitness:
    """Takes writes and health reports in any order; holds them against each other at the end."""

    def __init__(self) -> None:
        self._worked: list[tuple[float, float]] = []
        self._failed: list[tuple[float, float]] = []
        self._said: list[Said] = []

    def take(self, line: int, call: Call) -> None:
        """Look at a call of the load."""
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
        """Name what was said and was not so."""
        findings.checked["health_reports"] += len(self._said)
        outages = self._outages()
        for said in self._said:
            if said.word == "ok":
                for since, until in outages:
                    if said.start >= since + FAILED_S and said.end <= until:
                        found = f"/{said.op} said ok, {said.start - since:.1f} s after the last write worked"
                        findings.add("health_lied", f"second {said.start:.1f}", "not ok", found, said.line)
            elif said.status == 503 and self._all_worked_around(said.start):
                found = f"/{said.op} 503, while all writes had worked for {WORKED_S:.0f} s"
                findings.add("health_red", f"second {said.start:.1f}", "no 503", found, said.line)

    def _outages(self) -> list[tuple[float, float]]:
        """Return from when to when no write was under way that worked, and some were that failed."""
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
    """Return what a report says in a word: `stopping`, or its status where it is no 503."""
    try:
        report = json.loads(call.answer)
        if any(reason.get("code") == STOPPING for reason in report.get("reasons", ())):
            return STOPPING
        return str(report.get("status", "")) if call.status == 200 else ""
    except (ValueError, AttributeError):
        return ""

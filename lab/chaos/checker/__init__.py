"""The independent checker: reads a history, knows the API's contract, and shares no code with the service.

`check(path)` first reads the whole file once, to assign calls to cells and to check rules that need no memory (was any
answer one that is never allowed?). Then it checks cell by cell: keys, withdrawals, transfers, lists, balances. Only one
cell is in memory at a time.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lab.chaos.checker.archives import check_archived, check_rest
from lab.chaos.checker.balances import check_balances
from lab.chaos.checker.conduct import check_conduct
from lab.chaos.checker.evidence import BankLine, Cell, Times
from lab.chaos.checker.findings import Findings, Violation
from lab.chaos.checker.health import HealthWitness
from lab.chaos.checker.keys import check_keys
from lab.chaos.checker.lists import check_lists
from lab.chaos.checker.sequence import SequenceWitness
from lab.chaos.checker.told import Heard, check_told, read_events
from lab.chaos.checker.transfers import check_transfers
from lab.chaos.checker.withdrawals import check_strangers, check_withdrawals
from lab.chaos.history import (
    Archived,
    BankPayout,
    Call,
    Comeback,
    InjectedFault,
    Mark,
    Run,
    Told,
    ToldTo,
    Trouble,
    read,
    read_at,
)

__all__ = ["Findings", "Violation", "check"]

CLOCK_STEP_S = 0.005
"""If the wall clock and the monotonic clock diverge further, timestamps can't be compared with our seconds."""


@dataclass(slots=True)
class _Index:
    """The index that the first pass makes."""

    cells: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """(line number, offset) of each cell's calls"""
    bank: dict[str, list[BankLine]] = field(default_factory=dict)
    marks: dict[str, Mark] = field(default_factory=dict)
    run: Run | None = None
    clock_back: list[tuple[float, float]] = field(default_factory=list)
    sequence: SequenceWitness = field(default_factory=SequenceWitness)
    users: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """The users of each cell."""
    archived: dict[str, Archived] = field(default_factory=dict)
    restores: int = 0
    """How often another epoch may begin: a courier that starts then can't tell a promoted standby from a backup."""


def check(path: Path, tell: Callable[[str], None] = lambda text: None) -> Findings:
    """Return the violations of a run; `tell` receives the progress.

    Raises msgspec.ValidationError or OSError if the file is not a history.
    """
    findings = Findings()
    index = _first_pass(path, findings)
    times = _times(index, findings)
    if times is None:
        return findings
    archived = dict(index.archived)
    with path.open("rb") as file:
        for name, places in sorted(index.cells.items()):
            tell(f"cell {name}, {len(places):,} calls")
            cell = Cell(name, archived=index.archived)
            for number, offset in places:
                record = read_at(file, offset)
                assert isinstance(record, Call)
                cell.take(number, record)
            heard = [
                place for user in sorted(index.users[name]) for place in index.sequence.by_user.pop(user, ())
            ]
            told = read_events(file, heard) if index.run and index.run.consumers else None
            _check_cell(cell, told, index.bank, archived, times, findings)
    for user, left in index.sequence.by_user.items():
        lines = [place.line for place in left]
        findings.add("event_of_nothing", user, "a user of the run", f"{len(left)} events", *lines)
    check_strangers(index.bank, findings)
    check_rest(archived, findings)
    return findings


def _first_pass(path: Path, findings: Findings) -> _Index:
    index = _Index()
    witness = HealthWitness()
    for line in read(path):
        record = line.record
        if isinstance(record, Call):
            findings.checked["calls"] += 1
            check_conduct(line.number, record, findings)
            witness.take(line.number, record)
            index.sequence.refused(line.number, record)
            if record.cell:
                index.cells[record.cell].append((line.number, line.offset))
                index.users[record.cell].add(record.wallet.partition(" ")[0])
        elif isinstance(record, Told):
            index.sequence.take(line.number, line.offset, record, findings)
        elif isinstance(record, ToldTo):
            index.sequence.end(record)
        elif isinstance(record, BankPayout):
            findings.checked["payouts"] += 1
            index.bank.setdefault(record.reference, []).append(BankLine(line.number, record))
        elif isinstance(record, Archived):
            findings.checked["archived"] += 1
            if record.id in index.archived:
                findings.add("archived_twice", record.id, "in one archive", "in two", line.number)
            index.archived[record.id] = record
        elif isinstance(record, Run):
            index.run = record
        elif isinstance(record, Mark):
            index.marks[record.name] = record
        elif isinstance(record, InjectedFault):
            if record.target == "clock_back":
                index.clock_back.append((record.start, record.end))
            index.restores += record.action in ("restore", "failover")
        elif isinstance(record, Trouble):
            findings.add(record.rule, "the run", record.expected, record.found, line.number)
        elif isinstance(record, Comeback) and record.seconds > record.within_s:
            expected = f"started again within {record.within_s:.0f} s"
            findings.add("slow_restart", record.target, expected, f"{record.seconds:.1f} s", line.number)
    witness.check(findings)
    if index.run is not None:
        index.sequence.check(index.run.consumers, index.restores, findings)
    return index


def _times(index: _Index, findings: Findings) -> Times | None:
    missing = {"load_ended", "healed", "end"} - index.marks.keys()
    if missing or index.run is None:
        found = f"no {', '.join(sorted(missing))}"
        findings.add("incomplete", "the history", "a run from beginning to end", found)
        return None
    marks, wall_at_0 = index.marks, index.run.wall_at_0
    for mark in marks.values():
        if abs(mark.wall - mark.at - wall_at_0) > CLOCK_STEP_S:
            found = f"{mark.wall - mark.at - wall_at_0:+.3f} s at {mark.name}"
            findings.add("clock_stepped", "this machine", "a wall clock that runs evenly", found)
    moments = (marks["load_ended"].at, marks["healed"].at, marks["end"].at)
    return Times(wall_at_0, *moments, tuple(index.clock_back))


def _check_cell(
    cell: Cell,
    told: list[Heard] | None,
    bank: dict[str, list[BankLine]],
    archived: dict[str, Archived],
    times: Times,
    findings: Findings,
) -> None:
    stories, deeds = check_keys(cell, times, findings)
    check_archived(archived, stories, deeds, findings)
    if told is not None:
        check_told(cell, told, stories, deeds, times, findings)
    check_withdrawals(cell, stories, bank, times, findings)
    moved = check_transfers(cell, deeds, stories, times, findings)
    check_lists(cell, stories, times, findings)
    check_balances(cell, [*stories.values(), *moved], times, findings)

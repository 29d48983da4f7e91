"""Logs are read in the order of time, while they grow and are turned over; the beginning of a trouble is kept."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ops.local.log_heads import TROUBLE_S, LogHeads
from ops.log_files import LogFile, files, in_order
from ops.state import StateDir, write_json


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    """A state folder with a stack's logs."""
    state = StateDir(tmp_path)
    state.create()
    kinds = {"gateway_1": "gateway", "actors_1": "actors", "postgres": "postgres", "watchdog_1": ""}
    write_json(state.programs_file, {name: {"kind": kind} for name, kind in kinds.items()})
    return state


def event(at: str, event: str, level: str = "info") -> str:
    """Return a line of ours."""
    return json.dumps({"at": f"2026-11-27T12:00:{at}+00:00", "level": level, "event": event}) + "\n"


def names(state: StateDir, kind: str | None = None, since: datetime | None = None) -> list[str]:
    """Return program and event of each line, in order."""
    lines = in_order([file.since(since) for file in files(state, kind)])
    return [f"{line.program} {line.fields['event']}" for line in lines]


def test_lines_of_all_programs_in_the_order_of_time(state: StateDir) -> None:
    """Goal: the trail, events and the servers' own lines are one story; a line without a time stays after its own."""
    (state.log / "gateway_1.log").write_text(event("03.000", "c"))
    (state.log / "gateway_1.trail.log").write_text(event("01.000", "a"))
    (state.log / "actors_1.log").write_text(event("04.500", "e", "error"))
    (state.log / "postgres.log").write_text("2026-11-27 12:00:02.000 UTC [7] ERROR:  b\nCONTEXT: b2\n")
    assert names(state) == [
        "gateway_1 a",
        "postgres 2026-11-27 12:00:02.000 UTC [7] ERROR:  b",
        "postgres CONTEXT: b2",
        "gateway_1 c",
        "actors_1 e",
    ]
    assert names(state, "gateway") == names(state, "gateway_1") == ["gateway_1 a", "gateway_1 c"]
    assert names(state, "foo") == []
    assert names(state, "actors", datetime(2026, 11, 27, 13, tzinfo=UTC)) == []
    assert next(line.level for file in files(state, "postgres") for line in file.since(None)) == "error"


def test_following_a_log_that_is_turned_over(state: StateDir) -> None:
    """Goal: what is added is told once, whole lines only, also after the file was turned over."""
    path = state.log / "relay.log"
    path.write_text(event("01.000", "a"))
    log = LogFile(path)
    assert len(log.since(None)) == 1
    with path.open("a") as file:
        file.write(event("02.000", "b") + event("03.000", "c")[:20])
    assert [line.fields["event"] for line in log.more()] == ["b"]
    with path.open("a") as file:
        file.write(event("03.000", "c")[20:])
    assert [line.fields["event"] for line in log.more()] == ["c"]
    path.rename(path.with_name("relay.log.1"))
    path.write_text(event("04.000", "d"))
    assert [line.fields["event"] for line in log.more()] == ["d"]
    assert [line.fields["event"] for line in LogFile(path).since(datetime(2026, 1, 1, tzinfo=UTC))] == [
        *"abcd"
    ]


def test_the_beginning_of_a_trouble_is_kept(tmp_path: Path) -> None:
    """Goal: however often a log is turned over within an hour of the time before, the file that began it stays."""
    now = 0.0
    heads = LogHeads(tmp_path, clock=lambda: now)
    other = LogHeads(tmp_path, clock=lambda: now)

    def turn(text: str) -> None:
        current = tmp_path / "gateway_1.log"
        current.write_text(text)
        current.replace(tmp_path / "gateway_1.log.1")
        heads.look()
        other.look()

    head = tmp_path / "gateway_1.log.head"
    for number in range(5):
        turn(f"first {number}")
        now += TROUBLE_S / 2
    assert head.read_text() == "first 0"
    now += TROUBLE_S
    for number in range(3):
        turn(f"second {number}")
        now += 60.0
    assert head.read_text() == "second 0"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gateway_1.log.1", "gateway_1.log.head"]

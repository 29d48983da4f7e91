"""The trail: one line per write and per step, which costs its caller nearly nothing and delays nobody."""

import json
import os
import threading
from collections.abc import Iterator
from uuid import UUID

import pytest

from runtime import trail as module
from runtime.trail import Trail


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe: where to read, where to write."""
    read, write = os.pipe()
    yield read, write
    for descriptor in (read, write):
        os.close(descriptor)


def test_a_line_is_json(pipe: tuple[int, int]) -> None:
    """Goal: whatever the values, a line is one that any JSON reader takes; none is lost at the end."""
    trail = Trail()
    trail.open("gateway", descriptor=pipe[1])
    trail.note("accepted", withdrawal_id=UUID(int=1), request_id='a"\n b', by=None, ms=1.5)
    trail.note("attempt", attempt=1)
    trail.close()
    lines = os.read(pipe[0], 65536).decode().splitlines()
    first, second = map(json.loads, lines)
    assert first["at"].endswith("+00:00")
    assert (first["process"], first["event"], first["pid"]) == ("gateway", "accepted", os.getpid())
    assert first["withdrawal_id"] == str(UUID(int=1))
    assert (first["request_id"], first["by"], first["ms"]) == ('a"\n b', None, 1.5)
    assert second["event"] == "attempt"


def test_nobody_waits_for_a_reader(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: while nobody reads, noting a line goes on at once; what found no room is counted in the log itself."""
    monkeypatch.setattr(module, "WAITING_MAX", 1_000)
    trail = Trail()
    trail.open("gateway", descriptor=pipe[1])
    for number in range(20_000):  # more than a pipe and the waiting lines hold
        trail.note("createCharge", number=number, filling="x" * 100)
    read: list[dict[str, object]] = []
    reader = threading.Thread(target=lambda: read.extend(_until_closed(pipe[0])))
    reader.start()
    while not any(line["event"] == "lines_left_out" for line in read):
        trail.note("createCharge", number=-1)
    trail.close()
    os.write(pipe[1], b"end\n")
    reader.join(10)
    left_out = sum(int(str(line["left_out"])) for line in read if line["event"] == "lines_left_out")
    assert left_out > 0
    assert [line["number"] for line in read if line.get("number") == 0] == [0], "the beginning is there"


def _until_closed(descriptor: int) -> Iterator[dict[str, object]]:
    with open(descriptor, encoding="utf-8", closefd=False) as file:
        for line in file:
            if line == "end\n":
                return
            yield json.loads(line)


def test_nothing_is_kept_before_it_is_opened() -> None:
    """Goal: with a level above `info`, or in a test, lines take no memory."""
    trail = Trail()
    trail.note("accepted")
    assert not trail._waiting

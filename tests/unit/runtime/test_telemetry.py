"""Log lines are JSON events; metrics are declared in one place, with names that say their unit."""

import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from prometheus_client import Counter, Gauge, Histogram

from actors import look_ups
from runtime import telemetry
from runtime.telemetry import EventLogger, JsonFormatter


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What `log` writes, as text."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("gateway"))
    logger = logging.getLogger("wbs.test")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield stream
    logger.removeHandler(handler)


@pytest.fixture
def log() -> EventLogger:
    """An event logger of the test's own."""
    return EventLogger(logging.getLogger("wbs.test"))


def _lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_of_json(log: EventLogger, stream: io.StringIO) -> None:
    """Goal: whatever the values, an event is one line that any JSON reader takes, with its ids."""
    log.info("charged", withdrawal_id=UUID(int=1), user_id='a"\n b', request_id=None, amount=5)
    [line] = _lines(stream)
    assert line["event"] == "charged"
    assert line["level"] == "info"
    assert line["process"] == "gateway"
    assert isinstance(line["pid"], int)
    assert line["withdrawal_id"] == str(UUID(int=1))
    assert (line["user_id"], line["amount"], line["request_id"]) == ('a"\n b', 5, None)


def test_times_are_in_utc_and_say_so(log: EventLogger, stream: io.StringIO) -> None:
    """Goal: lines of processes in different time zones can be put in order: RFC 3339 with an offset."""
    before = datetime.now(UTC)
    log.info("charged")
    at = datetime.fromisoformat(str(_lines(stream)[0]["at"]))
    assert at.tzinfo is not None
    assert abs((at - before).total_seconds()) < 5


def test_levels(log: EventLogger, stream: io.StringIO) -> None:
    """Goal: events below the level are not written; the others are written with their own level."""
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert [(line["event"], line["level"]) for line in _lines(stream)] == [
        ("b", "info"),
        ("c", "warning"),
        ("d", "error"),
    ]


def test_an_exception_stays_within_its_line(log: EventLogger, stream: io.StringIO) -> None:
    """Goal: a traceback is a field of its event, not lines that no reader can place."""
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.error("failed", exc_info=True)
    [line] = _lines(stream)
    assert "ValueError: two\nlines" in str(line["exception"])


def test_ids_do_not_overwrite_the_event(log: EventLogger, stream: io.StringIO) -> None:
    """Goal: an id that happens to be called like a field of ours can't forge level, process or time."""
    log.info("real", level="error", process="other", pid=0, at="never")
    [line] = _lines(stream)
    assert (line["event"], line["level"], line["process"]) == ("real", "info", "gateway")
    assert line["pid"] != 0
    assert line["at"] != "never"


def test_records_of_libraries_become_events(stream: io.StringIO) -> None:
    """Goal: a library's log record comes out as an event as well, its arguments filled in."""
    logging.getLogger("wbs.test").warning("lost %s of %d", "one", 2)
    assert _lines(stream)[0]["event"] == "lost one of 2"


METRICS = [value for value in vars(telemetry).values() if isinstance(value, Counter | Gauge | Histogram)]


def test_metrics_carry_their_prefix_and_help() -> None:
    """Goal: all metrics begin with wbs_ and explain themselves; times are in seconds."""
    assert len(METRICS) > 15
    for metric in METRICS:
        assert metric._name.startswith("wbs_")
        assert len(metric._documentation) > 10
        for wrong in ("_ms", "_millis", "_us"):
            assert not metric._name.endswith(wrong)


def test_counters_and_gauges_are_named_as_prometheus_wants() -> None:
    """Goal: histograms of times end in _seconds, and no label holds what has no bound."""
    for metric in METRICS:
        if isinstance(metric, Histogram):
            assert metric._name.endswith(("_seconds", "_size"))
        unbounded = {"user_id", "withdrawal_id", "key", "path", "client"}
        assert not unbounded & set(metric._labelnames)


STARTED = """
import actors.bank.http, actors.middleware.dead_letters, actors.reconciler, actors.webhook_turn
from prometheus_client import Counter, Histogram
from gateway.app import create_app
from runtime import telemetry
from runtime.settings import Settings
create_app(Settings.from_env({}))
for metric in vars(telemetry).values():
    if isinstance(metric, Counter | Histogram) and metric._labelnames and not metric._metrics:
        print(metric._name)
"""
WITH_THEIR_TASK = {"wbs_task_restarts"}
"""Whose labels come when a task starts."""


def test_counters_start_at_zero() -> None:
    """Goal: a counter is there before its first event, which would otherwise be no increase to Prometheus."""
    told = subprocess.run(
        [sys.executable, "-c", STARTED], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert set(told.split()) == WITH_THEIR_TASK


def test_each_kind_of_discrepancy_starts_at_zero() -> None:
    """Goal: the list of kinds is that of the places that name one."""
    folder = Path(look_ups.__file__).parent
    source = "".join((folder / name).read_text() for name in ("look_ups.py", "reconciliation.py"))
    named = set(re.findall(r"\b_?(?:discrepancies\.)?_?name\(\s*\"(\w+)\"", source))
    assert named == set(look_ups.KINDS)

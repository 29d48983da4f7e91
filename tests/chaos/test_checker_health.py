"""The checker holds what the service says of its health against what became of the writes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.chaos.checker import check
from lab.chaos.history import Call, InjectedFault, Record
from tests.chaos.honest_service import HonestService, doctored, write

Rules = Callable[[list[Record]], set[str]]


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    """Return the names of the rules that a history breaks."""
    return lambda records: set(check(write(records, tmp_path / "history.jsonl")).counts)


def writes(status: int, *starts: float) -> list[Record]:
    """Bulk items without a cell: writes that only the witness of health looks at."""
    answer = '{"status":503,"code":"unavailable"}' if status == 503 else ""
    return [
        Call("charge", start, start + 0.1, status=status, answer=answer, retry_after=status == 503)
        for start in starts
    ]


def said(start: float, status: int, word: str = "") -> Call:
    """A report of the service on itself."""
    return Call("health", start, start + 0.05, status=status, answer=json.dumps({"status": word}))


def test_ok_while_writes_fail_is_a_lie(rules: Rules) -> None:
    """Goal: five seconds after the last write that worked, with failures since, nothing says ok."""
    history = HonestService().finish()
    outage = [*writes(200, 100.0), *writes(503, 101.0, 103.0, 105.0, 106.0), *writes(200, 108.0)]
    assert rules([*history, *outage, said(104.0, 200, "ok")]) == set()
    assert rules([*history, *outage, said(106.0, 200, "ok")]) == {"health_lied"}
    assert rules([*history, *outage, said(107.5, 200, "ok")]) == set()
    assert rules([*history, *outage, said(106.0, 200, "degraded")]) == set()
    assert rules([*history, *outage, said(106.0, 503)]) == set()
    nobody_asked = [*writes(200, 100.0), *writes(200, 108.0)]
    assert rules([*history, *nobody_asked, said(106.0, 200, "ok")]) == set()


def test_red_while_all_is_well_is_a_lie(rules: Rules) -> None:
    """Goal: ten seconds in which every write worked, and health still says 503."""
    history = HonestService().finish()
    fine = writes(200, *(100.0 + second for second in range(14)))
    assert rules([*history, *fine, said(113.5, 503)]) == {"health_red"}
    assert rules([*history, *fine, *writes(503, 110.5), said(113.5, 503)]) == set()
    assert rules([*history, *fine, said(113.5, 503), *writes(503, 114.0)]) == set()
    ending = Call("ready", 113.5, 113.6, status=503, answer='{"reasons":[{"code":"stopping"}]}')
    assert rules([*history, *fine, ending]) == set()


def test_a_clock_that_was_back_excuses_what_is_early(rules: Rules) -> None:
    """Goal: an instant before the request is impossible, unless the database's clock was behind just then."""
    service = HonestService(now=50.0)
    first = service.charge("k1", 100)
    service.read_balance()
    early = doctored(first, created_at=service.stamp(10.0))
    records = [early if record is first else record for record in service.finish()]
    for position, record in enumerate(records):
        if isinstance(record, Call) and record.op in ("charge", "transactions") and record is not early:
            answer = record.answer.replace(json.loads(first.answer)["created_at"], service.stamp(10.0))
            records[position] = Call(
                **{f: getattr(record, f) for f in record.__struct_fields__} | {"answer": answer}
            )
    assert rules(records) == {"impossible_created_at"}
    assert rules([*records, InjectedFault("database", "clock_back", 49.0, 51.0)]) == set()
    assert rules([*records, InjectedFault("database", "clock_back", 20.0, 30.0)]) == {"impossible_created_at"}

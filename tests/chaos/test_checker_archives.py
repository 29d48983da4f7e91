"""The checker knows archives: what they hold may be gone, and nothing else; each lie that is planted is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from lab.chaos.checker import Findings, check
from lab.chaos.history import Archived, Call, Record
from tests.chaos.honest_archives import archived, refused
from tests.chaos.honest_events import events_of, told
from tests.chaos.honest_service import doctored, write
from tests.chaos.honest_transfers import HonestTransfers

KINDS = {
    "id-1": "charge",
    "transfer-t1": "send",
    "hold-h1": "hold",
    "hold-h2": "hold",
    "transfer-c1": "capture",
    "reversal-r1": "reversal",
    "id-2": "reserve",
}
BEFORE = 0.4
Check = Callable[[list[Record]], Findings]


@pytest.fixture
def verdict(tmp_path: Path) -> Check:
    """Checks records as if they were a history file."""
    return lambda records: check(write(records, tmp_path / "history.jsonl"))


@pytest.fixture
def history() -> list[Record]:
    """A history after which some of everything was archived."""
    service = HonestTransfers()
    service.charge("k1", 1_000)
    service.withdraw("w1", 50)
    service.move("id-2", "processing", "completed")
    service.transfer("t1", ("bob", 70, None))
    service.hold("h1", 60)
    service.capture("c1", "hold-h1", ("bob", 20, None))
    service.hold("h2", 30)
    service.void("hold-h2")
    service.reverse("reverse_charge", "r1", "id-1", amount=40)
    service.now = BEFORE
    then = service.read_balance().answer
    service.charge("k2", 10)
    records = service.finish()
    *lines, end = archived(told(records, events_of(service, records)), KINDS, BEFORE)
    gone = refused(Call("balance_at", 0.9, 0.91), 410, "history_archived")
    whole = Call("balance_at", 0.9, 0.91, status=200, answer=then)
    looks = [
        replace(call, phase="final", cell="cell", wallet="ann USD", subject=service.stamp(instant))
        for call, instant in ((gone, BEFORE - 0.3), (whole, BEFORE))
    ]
    return [*lines, *looks, end]


def at(history: list[Record], op: str, subject: str = "", key: str = "") -> int:
    """Return the place of the last call of an operation."""
    return max(
        place
        for place, line in enumerate(history)
        if isinstance(line, Call)
        and line.op == op
        and subject in ("", line.subject)
        and key in ("", line.key)
    )


def call_at(history: list[Record], place: int) -> Call:
    """Return the call there."""
    call = history[place]
    assert isinstance(call, Call)
    return call


def test_an_honest_archive_has_no_violation(history: list[Record], verdict: Check) -> None:
    """Goal: what is archived is refused by key, not found by id, in no list, and in the wallets' balances as before."""
    findings = verdict(history)
    assert findings.violations == []
    assert findings.checked["archived"] == len(KINDS)
    assert findings.checked["archived_answers"] == len(KINDS)


def test_what_is_gone_must_be_in_an_archive(history: list[Record], verdict: Check) -> None:
    """Goal: whatever an archive's files do not hold, or not yet, is missed: by key, by id, in lists and histories."""
    rules = {
        "id-1": {"not_archived", "lost", "impossible_total"},
        "id-2": {
            "not_archived",
            "lost",
            "impossible_total",
            "illegal_move",
            "moves_differ",
            "event_of_nothing",
        },
        "transfer-t1": {"not_archived"},
        "transfer-c1": {"not_archived"},
        "reversal-r1": {"not_archived"},
        "hold-h1": {"not_archived", "hold_lost"},
        "hold-h2": {"not_archived", "hold_lost", "impossible_balance"},
    }
    for id, expected in rules.items():
        less = [line for line in history if not (isinstance(line, Archived) and line.id == id)]
        assert set(verdict(less).counts) == expected, id
    late = [replace(line, since=9.0) if isinstance(line, Archived) else line for line in history]
    assert {"not_archived", "lost", "hold_lost"} <= set(verdict(late).counts)


def test_what_may_not_be_archived_is_found(history: list[Record], verdict: Check) -> None:
    """Goal: too young, twice, unknown to everybody, and still in a list."""
    young = [replace(line, before=0.01) if isinstance(line, Archived) else line for line in history]
    assert set(verdict(young).counts) == {"archived_too_young", "history_differs"}
    line = next(line for line in history if isinstance(line, Archived))
    assert set(verdict([*history[:-1], line, history[-1]]).counts) == {"archived_twice"}
    unknown = replace(line, id="id-9")
    assert set(verdict([*history[:-1], unknown, history[-1]]).counts) == {"archived_unknown"}
    kept = replace(line, id="id-3")
    assert "archived_and_listed" in verdict([*history[:-1], kept, history[-1]]).counts


def test_what_books_say_of_the_past(history: list[Record], verdict: Check) -> None:
    """Goal: at an archive's instant a balance is as it was then; before it, it is refused, if something has left."""
    gone, whole = (at(history[:-end], "balance_at") for end in (2, 1))
    rich = doctored(call_at(history, whole), withdrawable=9_999, total=9_999)
    assert set(verdict([*history[:whole], rich, history[-1]]).counts) == {"impossible_balance"}
    for place, status in ((gone, whole), (whole, gone)):
        other = replace(call_at(history, status), subject=call_at(history, place).subject)
        but = [*history[:place], other, *history[place + 1 :]]
        assert set(verdict(but).counts) == {"history_differs"}


def test_other_answers_are_found(history: list[Record], verdict: Check) -> None:
    """Goal: a key that makes something again, another request told so, a history or an end that never was."""

    def but(place: int, call: Call) -> set[str]:
        return set(verdict([*history[:place], call, *history[place + 1 :]]).counts)

    again = at(history, "charge", key="k1")
    first = next(line for line in history if isinstance(line, Call) and line.key == "k1")
    new: dict[str, Any] = json.loads(first.answer) | {"id": "id-9"}
    made = replace(call_at(history, again), status=200, answer=json.dumps(new))
    assert {"doubled", "replay_changed"} <= but(again, made)
    other = at(history, "charge", key="k2")
    assert "not_archived" in but(other, refused(call_at(history, other), 409, "idempotency_key_archived"))
    place = at(history, "withdrawal", "id-2")
    whole = json.loads(call_at(history, place).answer)["history"]
    failed = [whole[0], whole[-1] | {"status": "failed"}]
    assert "moves_differ" in but(place, doctored(call_at(history, place), history=failed, status="failed"))
    ends = [
        replace(line, status="voided") if isinstance(line, Archived) and line.id == "hold-h1" else line
        for line in history
    ]
    assert {"wrong_end", "hold_end_differs"} <= set(verdict(ends).counts)

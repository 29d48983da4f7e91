"""The checker knows the sequence of events: an honest one passes, and each lie that is planted is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lab.chaos.checker import Findings, check
from lab.chaos.history import Call, InjectedFault, Record, Told, ToldTo
from tests.chaos.honest_events import Event, events_of, renumbered, told
from tests.chaos.honest_service import write
from tests.chaos.honest_transfers import HonestTransfers

Check = Callable[[list[Record]], Findings]


@pytest.fixture
def verdict(tmp_path: Path) -> Check:
    """Checks records as if they were a history file."""
    return lambda records: check(write(records, tmp_path / "history.jsonl"))


@pytest.fixture
def records(service: HonestTransfers) -> list[Record]:
    """The service's history, without events."""
    return service.finish()


@pytest.fixture
def service() -> HonestTransfers:
    """A service after a day of everything that is told."""
    service = HonestTransfers()
    service.charge("k1", 2_000)
    service.charge("k2", 100, release=0.4)
    service.charge("k3", 50, answered=False)
    service.transfer("t1", ("bob", 70, None))
    service.transfer("t2", ("bob", 50, 0.4), ("bob", 30, None))
    for key in ("h1", "h2"):
        service.hold(key, 60)
    service.hold("h3", 10, expires=0.3)
    service.capture("c1", "hold-h1", ("bob", 20, None))
    service.void("hold-h2")
    service.reverse("reverse_charge", "r1", "id-1", amount=40)
    service.reverse("reverse_transfer", "r2", "transfer-t1", amount=20)
    service.withdraw("w1", 100)
    service.move("id-4", "processing", "completed", "returned")
    service.withdraw("w2", 50)
    service.cancel("id-5")
    service.now = 0.5
    return service


@pytest.fixture
def events(service: HonestTransfers, records: list[Record]) -> list[Event]:
    """What an honest service tells of it."""
    return events_of(service, records)


@pytest.fixture
def place(events: list[Event]) -> Callable[..., int]:
    """`place(type, which)`: where the events of a type are."""

    def find(type: str, which: int = 0) -> int:
        return [at for at, event in enumerate(events) if event["type"] == type][which]

    return find


Place = Callable[..., int]


def changed(event: Event, **values: Any) -> Event:
    """The event, with an object that says something else."""
    return event | {"object": event["object"] | values}


def without(events: list[Event], *places: int) -> list[Event]:
    """The events but those at these places, with their old numbers."""
    return [event for at, event in enumerate(events) if at not in places]


def swapped(events: list[Event], one: int, other: int) -> list[Event]:
    """The events with two of them in each other's place, numbered anew."""
    moved = list(events)
    moved[one], moved[other] = moved[other], moved[one]
    return renumbered(moved)


def test_an_honest_sequence_has_no_violation(
    records: list[Record], events: list[Event], verdict: Check
) -> None:
    """Goal: the checker accepts what is right, and has looked at all of it."""
    findings = verdict(told(records, events, patient=True))
    assert findings.violations == []
    assert findings.checked["events"] == 3 * len(events)
    assert findings.checked["told"] == 3 + 2 + 3 + 2 + 2 + 2
    assert findings.checked["moves"] == 4 + 2


@pytest.mark.parametrize(
    "type", ["charge.completed", "transfer.completed", "transfer.reversed", "charge.released"]
)
def test_a_gap_is_found(
    records: list[Record], events: list[Event], place: Place, verdict: Check, type: str
) -> None:
    """Goal: an event that one consumer was not told, or both were not, or that has no number at all."""
    gone = without(events, place(type, -1))
    assert set(verdict(told(records, events, gone)).counts) == {"event_gap"}
    both = set(verdict(told(records, gone, patient=True)).counts)
    missing = "release_differs" if type.endswith("released") else "event_missing"
    assert both == {"event_gap", missing}
    assert set(verdict(told(records, renumbered(gone), patient=True)).counts) == {missing}


def test_where_consumers_begin_and_end(records: list[Record], events: list[Event], verdict: Check) -> None:
    """Goal: a consumer that was told too little at either end, or nothing."""
    for less in (events[:-1], events[1:], []):
        assert "event_missing" in verdict(told(records, events, less)).counts
    for less in (events[:-1], events[1:]):
        assert set(verdict(told(records, events, less)).counts) == {"event_missing"}
    nothing: list[Record] = [line for line in told(records, events) if not isinstance(line, Told | ToldTo)]
    assert "incomplete" in verdict(nothing).counts


def test_doubles_are_found(records: list[Record], events: list[Event], place: Place, verdict: Check) -> None:
    """Goal: an event that was told twice, under its number or under another one."""
    again = [*events, events[3]]
    assert set(verdict(told(records, events, again)).counts) == {"event_doubled"}
    for type in ("charge.completed", "transfer.completed", "hold.captured", "transfer.reversed"):
        twice = renumbered([*events, events[place(type)]])
        assert "event_doubled" in verdict(told(records, twice)).counts
    released = renumbered([*events, events[place("charge.released")]])
    assert set(verdict(told(records, released)).counts) == {"release_differs"}
    moved = renumbered([*events, events[place("withdrawal.completed")]])
    assert set(verdict(told(records, moved)).counts) == {"moves_differ"}


def test_another_order_is_found(
    records: list[Record], events: list[Event], place: Place, verdict: Check
) -> None:
    """Goal: two operations of one wallet, two moves of one withdrawal, a release before what it releases."""
    first, second = place("charge.completed"), place("transfer.completed")
    assert set(verdict(told(records, swapped(events, first, second))).counts) == {"event_out_of_order"}
    first, second = place("withdrawal.processing"), place("withdrawal.completed")
    assert set(verdict(told(records, swapped(events, first, second))).counts) == {"moves_differ"}
    early = list(events)
    early.insert(0, early.pop(place("charge.released")))
    assert "event_out_of_order" in verdict(told(records, renumbered(early))).counts
    turned = [*events[:4], events[5], events[4], *events[6:]]
    assert "event_out_of_order" in verdict(told(records, events, turned)).counts


def test_other_words_are_found(
    records: list[Record], events: list[Event], place: Place, verdict: Check
) -> None:
    """Goal: other bytes for another consumer, another amount or wallet than was asked for, what is no event."""
    other = list(events)
    other[2] = other[2] | {"by": "somebody"}
    assert set(verdict(told(records, events, other)).counts) == {"event_differs"}
    again = [*events, other[2]]
    assert set(verdict(told(records, events, again)).counts) == {"event_changed"}
    lies: list[tuple[str, dict[str, Any]]] = [
        ("charge.completed", {"amount": 1}),
        ("charge.completed", {"currency": "EUR"}),
        ("transfer.completed", {"amount": 71}),
        ("transfer.completed", {"legs": []}),
        ("hold.opened", {"expires_at": "2030-01-01T00:00:00Z"}),
        ("hold.captured", {"captured": 21}),
        ("charge.reversed", {"reversal": {"id": "reversal-r1", "amount": 41}}),
        ("withdrawal.pending", {"amount": 99}),
    ]
    for type, values in lies:
        lie = list(events)
        lie[place(type)] = changed(lie[place(type)], **values)
        assert set(verdict(told(records, lie)).counts) == {"event_differs"}, type
    broken: list[dict[str, Any]] = [{"type": "charge.made"}, {"user_ids": []}, {"object": None}, {"epoch": 7}]
    for values in broken:
        bad = [*events[:-1], events[-1] | values]
        assert "malformed_event" in verdict(told(records, bad)).counts
    history = told(records, events)
    at = next(at for at, line in enumerate(history) if isinstance(line, Told) and line.number == "3")
    line = history[at]
    assert isinstance(line, Told)
    history[at] = msgspec.structs.replace(line, number="4")
    assert "malformed_event" in verdict(history).counts


def test_events_of_nothing_are_found(
    records: list[Record], events: list[Event], place: Place, verdict: Check
) -> None:
    """Goal: what nobody has asked for: of a known wallet, of an unknown one, another end of a hold."""
    for type in ("charge.completed", "transfer.completed", "hold.opened", "charge.reversed"):
        strange = changed(events[place(type)], id="strange", reversal={"id": "strange", "amount": 1})
        assert "event_of_nothing" in verdict(told(records, renumbered([*events, strange]))).counts
    strange = changed(events[place("withdrawal.pending")], withdrawal_id="strange")
    assert set(verdict(told(records, renumbered([*events, strange]))).counts) == {"event_of_nothing"}
    stranger = events[0] | {"user_ids": ["stranger"]}
    assert set(verdict(told(records, renumbered([*events, stranger]))).counts) == {"event_of_nothing"}
    for hold, type in (("hold-h1", "hold.voided"), ("hold-h2", "hold.expired"), ("hold-h3", "hold.voided")):
        end = changed(events[place("hold.opened")], id=hold) | {"type": type}
        assert "hold_end_differs" in verdict(told(records, renumbered([*events, end]))).counts


def test_a_void_without_an_answer_may_be_told(
    records: list[Record], events: list[Event], verdict: Check
) -> None:
    """Goal: a void that was cut off, or met 503, is asked for all the same; one that was refused is not."""

    def answered(status: int) -> list[Record]:
        voids = [line for line in records if isinstance(line, Call) and line.op == "void"]
        return [msgspec.structs.replace(one, status=status) if one in voids else one for one in records]

    for status in (0, 503):
        assert "event_of_nothing" not in verdict(told(answered(status), events)).counts
    assert "event_of_nothing" in verdict(told(answered(409), events)).counts


def test_what_falls_due_must_be_told(
    records: list[Record], events: list[Event], place: Place, verdict: Check
) -> None:
    """Goal: a release or an expiry that is not there, once there was time enough for it."""
    for type, rule in (
        ("charge.released", "release_differs"),
        ("transfer.released", "release_differs"),
        ("hold.expired", "hold_end_differs"),
        ("hold.voided", "hold_end_differs"),
    ):
        late = renumbered(without(events, place(type)))
        assert set(verdict(told(records, late, patient=True)).counts) == {rule}
        if type != "hold.voided":
            assert verdict(told(records, late)).violations == []


def test_another_epoch_is_found(records: list[Record], events: list[Event], verdict: Check) -> None:
    """Goal: another epoch only where the run restored the database, and for all consumers."""
    middle = len(events) // 2
    anew = [*events[:middle], *({**event, "epoch": "epoch-2"} for event in events[middle:])]
    assert set(verdict(told(records, anew)).counts) == {"epoch_changed"}
    restored = InjectedFault("restore", "postgres", 0.1, 0.2)
    for first, second in (("epoch-1", "epoch-2"), ("epoch-2", "epoch-1")):  # whichever sorts first
        anew = [event | {"epoch": first if at < middle else second} for at, event in enumerate(events)]
        run, *rest = told(records, anew)
        assert verdict([run, restored, *rest]).violations == []
    assert "epoch_differs" in verdict(told(records, events, anew)).counts
    problem = '{"status":410,"code":"events_gone"}'
    gone = Call("events", 0.3, 0.31, status=410, answer=problem)
    run, *rest = told(records, events)
    assert set(verdict([run, gone, *rest]).counts) == {"position_gone"}
    promoted = InjectedFault("failover", "killed", 0.1, 0.2)
    assert verdict([run, promoted, gone, *rest]).violations == []

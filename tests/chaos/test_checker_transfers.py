"""The checker knows transfers, holds and reversals: an honest history passes, and each planted lie is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lab.chaos.checker import Findings, check
from lab.chaos.history import Call, Record
from tests.chaos.honest_service import doctored, write
from tests.chaos.honest_transfers import HonestTransfers

Check = Callable[[list[Record]], Findings]


@pytest.fixture
def verdict(tmp_path: Path) -> Check:
    """Checks records as if they were a history file."""
    return lambda records: check(write(records, tmp_path / "history.jsonl"))


@pytest.fixture
def service() -> HonestTransfers:
    """A service after a day of transfers, read in between."""
    service = HonestTransfers()
    service.charge("k1", 1_000)
    service.charge("k2", 100, release=0.9)
    service.read_balance("bob")
    service.transfer("t1", ("bob", 70, None))
    service.transfer("t2", ("bob", 50, 0.8), ("bob", 30, None))
    service.transfer("t2", ("bob", 50, 0.8), ("bob", 30, None))
    service.read_balance("bob")
    service.transfer("t3", ("bob", 5_000, None))  # refused
    service.read_balance()
    service.hold("h1", 110)
    service.hold("h2", 60, expires=0.6)
    service.hold("h3", 90, expires=2.0)
    service.hold("h4", 5_000)  # refused
    service.look("hold_now", "hold-h1")
    service.capture("c0", "hold-h1", ("bob", 111, None))  # refused
    service.capture("c1", "hold-h1")
    service.capture("c2", "hold-h3", ("bob", 20, 0.7), ("bob", 30, None))
    service.void("hold-h3")  # refused
    service.hold("h5", 40)
    service.void("hold-h5")
    service.capture("c3", "hold-h5")  # refused
    service.look("hold_now", "hold-h2")
    service.read_balance()
    service.reverse("reverse_charge", "r1", "id-1", amount=40)
    service.reverse("reverse_charge", "r2", "id-2")
    service.reverse("reverse_charge", "r3", "id-2", amount=1)  # refused
    service.reverse("reverse_transfer", "r4", "transfer-t1", amount=20)
    service.reverse("reverse_transfer", "r5", "transfer-t2", legs=[{"leg": 1, "amount": 15}])
    service.reverse("reverse_transfer", "r6", "transfer-c1")
    service.read_balance()
    service.read_balance("bob")
    service.now = 1.0
    service.read_balance()
    service.read_balance("bob")
    service.look("hold_now", "hold-h2")
    service.void("hold-h2")  # refused: it has expired
    service.look("charge_now", "id-1")
    return service


def test_an_honest_history_has_no_violation(service: HonestTransfers, verdict: Check) -> None:
    """Goal: the checker accepts what is right: legs, locks, captures in part, expiry, reversals of what is locked."""
    findings = verdict(service.finish())
    assert findings.violations == []
    assert findings.checked["deeds"] == 13
    assert findings.checked["balances"] > 20
    assert findings.checked["balances_by_bounds"] == 0


def at(records: list[Record], op: str, which: int = 0, **wanted: Any) -> int:
    """Position of a call with these values."""
    found = [
        position
        for position, record in enumerate(records)
        if isinstance(record, Call)
        and record.op == op
        and all(getattr(record, name) == value for name, value in wanted.items())
    ]
    return found[which]


def change(records: list[Record], position: int, **changes: Any) -> None:
    """Doctor the JSON answer of a call."""
    call = records[position]
    assert isinstance(call, Call)
    records[position] = doctored(call, **changes)


def replace(records: list[Record], position: int, **values: Any) -> None:
    """Doctor the fields of a call."""
    call = records[position]
    assert isinstance(call, Call)
    records[position] = msgspec.structs.replace(call, **values)


def refused(records: list[Record], key: str, status: int, code: str) -> None:
    """As if all requests under this key had been refused."""
    for position, record in enumerate(records):
        if isinstance(record, Call) and record.key == key:
            answer = json.dumps({"status": status, "code": code})
            replace(records, position, status=status, answer=answer, replayed=False)


Lie = Callable[[HonestTransfers, list[Record]], None]


def _double_capture(service: HonestTransfers, records: list[Record]) -> None:
    for position in (at(records, "capture", key="c3"), at(records, "capture", 1, key="c3")):
        answer = service.holds["hold-h5"] | {
            "status": "captured",
            "captured": 40,
            "transfer_id": "transfer-c3",
        }
        call = records[position]
        assert isinstance(call, Call)
        settles = call.phase == "settle"
        replace(records, position, status=200, answer=json.dumps(answer), replayed=settles)


def _answer(op: str, key: str, **changes: Any) -> Lie:
    def lie(service: HonestTransfers, records: list[Record]) -> None:
        for position, record in enumerate(records):
            if isinstance(record, Call) and (record.op, record.key) == (op, key) and record.status == 200:
                change(records, position, **changes)

    return lie


def _refuse(key: str, status: int, code: str) -> Lie:
    return lambda service, records: refused(records, key, status, code)


def _seen(op: str, id: str, which: int = -1, **changes: Any) -> Lie:
    return lambda service, records: change(records, at(records, op, which, subject=id), **changes)


def _gone(op: str, id: str) -> Lie:
    return lambda service, records: replace(records, at(records, op, -1, subject=id), status=404)


def _unread(op: str, id: str) -> Lie:
    def lie(service: HonestTransfers, records: list[Record]) -> None:
        records[:] = [
            record
            for record in records
            if not (isinstance(record, Call) and (record.op, record.subject) == (op, id))
        ]

    return lie


LIES: dict[str, tuple[str, Lie]] = {
    "captured and voided": ("ended_twice", _double_capture),
    "captured, and open at the end": ("wrong_end", _seen("hold_now", "hold-h1", status="open", captured=0)),
    "another amount captured": ("wrong_end", _seen("hold_now", "hold-h3", captured=49)),
    "voided unasked": ("wrong_end", _seen("hold_now", "hold-h2", status="voided")),
    "open for ever": ("wrong_end", _seen("hold_now", "hold-h2", status="open")),
    "open after its expiry": ("wrong_expiry", _seen("hold_now", "hold-h2", 1, status="open")),
    "expired too early": ("wrong_expiry", _seen("hold_now", "hold-h2", 0, status="expired")),
    "open after its end": ("went_back", _seen("hold_now", "hold-h1", -1, status="open")),
    "another amount held": ("hold_differs", _seen("hold_now", "hold-h2", amount=61)),
    "a hold is gone": ("hold_lost", _gone("hold_now", "hold-h2")),
    "a hold is never looked at": ("hold_lost", _unread("hold_now", "hold-h2")),
    "transfer answered as less": ("answer_differs_from_request", _answer("transfer", "t1", amount=69)),
    "transfer to another": ("answer_differs_from_request", _answer("transfer", "t1", legs=[])),
    "hold answered as less": ("answer_differs_from_request", _answer("hold", "h1", amount=109)),
    "capture answered as less": ("answer_differs_from_request", _answer("capture", "c2", captured=49)),
    "captured more than held": ("captured_too_much", _answer("capture", "c2", captured=91)),
    "reversal answered as less": ("answer_differs_from_request", _answer("reverse_charge", "r1", amount=39)),
    "reversal of another": ("answer_differs_from_request", _answer("reverse_charge", "r1", reverses="id-2")),
    "replay of another transfer": (
        "replay_changed",
        lambda service, records: change(records, at(records, "transfer", -1, key="t1"), metadata={}),
    ),
    "more reversed than charged": ("reversed_too_much", _answer("reverse_charge", "r2", amount=101)),
    "more reversed than sent": ("reversed_too_much", _answer("reverse_transfer", "r4", amount=71)),
    "a rest that is left": ("rest_not_reversed", _answer("reverse_charge", "r2", amount=99)),
    "reversed, and not said": ("reversed_differs", _seen("charge_now", "id-1", reversed=0)),
    "said, and not reversed": ("reversed_differs", _seen("transfer_now", "transfer-t1", reversed=21)),
    "what was reversed is gone": ("lost", _gone("transfer_now", "transfer-t1")),
    "what was reversed is another": ("differs", _seen("transfer_now", "transfer-t1", amount=71)),
    "what was reversed is never looked at": ("unread", _unread("transfer_now", "transfer-t1")),
    "transfer refused though there was enough": ("wrongly_refused", _refuse("t1", 422, "insufficient_funds")),
    "hold refused though there was enough": ("wrongly_refused", _refuse("h2", 422, "insufficient_funds")),
    "capture refused though it was open": ("wrongly_refused", _refuse("c1", 409, "hold_not_open")),
    "capture refused as too much": ("wrongly_refused", _refuse("c2", 422, "capture_exceeds_hold")),
    "reversal refused as too much": ("wrongly_refused", _refuse("r1", 422, "exceeds_original")),
    "transfer refused as too late": ("wrongly_refused", _refuse("t1", 422, "validation_failed")),
    "transfer refused as a hold": ("unexpected_refusal", _refuse("t1", 409, "hold_not_open")),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_named(name: str, service: HonestTransfers, verdict: Check) -> None:
    """Goal: whatever is wrong about a transfer, hold or reversal is found under the rule that it breaks."""
    rule, lie = LIES[name]
    records = service.finish()
    lie(service, records)
    assert rule in verdict(records).counts, name


@pytest.mark.parametrize(
    "forget",
    ["the payee's", "the payer's", "a locked leg", "a reversal", "a capture's"],
)
def test_money_that_a_balance_does_not_show_is_missed(
    forget: str, service: HonestTransfers, verdict: Check
) -> None:
    """Goal: each side of a transfer, capture and reversal counts in its wallet's balance."""
    flow = {
        "the payee's": ("bob USD", 70, None),
        "the payer's": ("ann USD", -70, None),
        "a locked leg": ("bob USD", 50, None),
        "a reversal": ("ann USD", -40, None),
        "a capture's": ("bob USD", 110, None),
    }[forget]
    service.flows.remove(next(one for one in service.flows if one[:2] == flow[:2]))
    assert "impossible_balance" in verdict(service.finish()).counts


def test_an_overdrawn_transfer_is_found(service: HonestTransfers, verdict: Check) -> None:
    """Goal: no transfer is accepted for more than there can have been."""
    records = service.finish()
    position = at(records, "transfer", -1, key="t3")
    answer = {"id": "transfer-t3", "from_user_id": "ann", "currency": "USD", "amount": 5_000, "reversed": 0}
    answer |= {"legs": [{"to_user_id": "bob", "amount": 5_000, "release_at": None}], "metadata": None}
    call = records[position]
    assert isinstance(call, Call)
    answer["created_at"] = service.stamp(call.start + 0.005)
    replace(records, position, status=200, answer=json.dumps(answer))
    assert "overdrawn" in verdict(records).counts

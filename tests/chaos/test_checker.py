"""The checker can fail: each kind of violation, planted in an honest history, is found and named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lab.chaos.checker import Findings, check
from lab.chaos.history import BankPayout, Call, Comeback, Mark, Record, Trouble
from tests.chaos.honest_service import HonestService, doctored, write

Check = Callable[[list[Record]], Findings]


@pytest.fixture
def verdict(tmp_path: Path) -> Check:
    """Checks records as if they were a history file."""
    return lambda records: check(write(records, tmp_path / "history.jsonl"))


@pytest.fixture
def service() -> HonestService:
    """A service after a day's work: every kind of movement, read in between."""
    service = HonestService()
    service.read_balance()
    service.charge("k1", 1000)
    service.charge("k1", 1000)
    service.read_balance()
    service.charge("k2", 300, release=0.2)
    service.charge("k3", 50, answered=False)
    service.read_balance()
    service.withdraw("w1", 400)
    service.read_balance()
    service.move("id-4", "processing", "completed")
    service.read_withdrawal("id-4")
    service.withdraw("w2", 100)
    service.cancel("id-5")
    service.withdraw("w3", 200)
    service.move("id-6", "processing", "failed")
    service.withdraw("w4", 5000)  # refused
    service.withdraw("w5", 60)
    service.move("id-7", "processing", "completed")
    service.read_balance()
    service.read_withdrawal("id-7")
    service.move("id-7", "returned")
    service.read_list(limit=3)
    service.charge("k1", 999)  # refused: the key is used
    service.now = 0.3
    service.read_balance()
    service.withdraw("w6", 900)  # needs what was locked
    service.move("id-8", "processing", "completed")
    service.read_list()
    return service


def test_an_honest_history_has_no_violation(service: HonestService, verdict: Check) -> None:
    """The checker accepts what is right: releases, cancels, refunds, returns, replays, a lost answer."""
    findings = verdict(service.finish())
    assert findings.violations == []
    assert findings.checked["requests"] > 20
    assert findings.checked["withdrawals"] == 5
    assert findings.checked["balances"] > 12
    assert findings.checked["balances_by_bounds"] == 0


def test_a_lost_request_may_take_effect_when_sent_again(verdict: Check) -> None:
    """An ambiguous request that never arrived is done by the re-send, and that is right."""
    service = HonestService()
    body = json.dumps({"user_id": "ann", "amount": 70, "currency": "USD", "idempotency_key": "k1"})
    service.send("charge", "k1", body, lost=True)
    service.read_balance()
    assert verdict(service.finish()).violations == []


def calls(records: list[Record], op: str, **wanted: Any) -> list[int]:
    """Positions of the calls with these values."""
    return [
        position
        for position, record in enumerate(records)
        if isinstance(record, Call)
        and record.op == op
        and all(getattr(record, name) == value for name, value in wanted.items())
    ]


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


def told(records: list[Record], position: int) -> Any:
    """The JSON answer of a call."""
    call = records[position]
    assert isinstance(call, Call)
    return json.loads(call.answer)


def rules(findings: Findings) -> set[str]:
    """The kinds of violations that were found."""
    return set(findings.counts)


# --- charges and keys ------------------------------------------------------------


def test_a_lost_charge_is_found(service: HonestService, verdict: Check) -> None:
    """A charge that was acknowledged is in no list, and no balance counts it."""
    del service.movements["id-1"]
    service.by_key.pop("k1")
    findings = verdict(service.finish())
    assert {"lost", "doubled", "unknown_transaction"} <= rules(findings)  # the re-send did it anew

    lost = HonestService()
    lost.charge("k1", 1000)
    records = lost.finish()
    change(records, calls(records, "transactions")[0], transactions=[], total=0)
    assert {"lost", "impossible_total"} <= rules(verdict(records))


def test_a_charge_refused_after_it_was_acknowledged_is_found(service: HonestService, verdict: Check) -> None:
    """The key of an acknowledged request was forgotten: its re-send is refused."""
    records = service.finish()
    position = calls(records, "withdraw", key="w1", phase="settle")[0]
    refusal = json.dumps({"status": 422, "code": "insufficient_funds"})
    replace(records, position, status=422, answer=refusal)
    assert "lost_after_acknowledged" in rules(verdict(records))


def test_a_doubled_charge_is_found(service: HonestService, verdict: Check) -> None:
    """The same key made two movements: two in the list, twice the money."""
    records = service.finish()
    walk = calls(records, "transactions", phase="final")[0]
    items = told(records, walk)["transactions"]
    change(records, walk, transactions=[items[0] | {"id": "id-99"}, *items], total=len(items) + 1)
    balance = calls(records, "balance", phase="final")[0]
    parts = told(records, balance)
    change(records, balance, withdrawable=parts["withdrawable"] + 900, total=parts["total"] + 900)
    assert {"unknown_transaction", "impossible_balance", "impossible_total"} <= rules(verdict(records))


def test_answered_as_new_twice_is_found(service: HonestService, verdict: Check) -> None:
    """Two answers to one key that both say: done just now."""
    records = service.finish()
    position = calls(records, "charge", key="k1", phase="settle")[0]
    replace(records, position, replayed=False)
    assert rules(verdict(records)) == {"doubled"}


def test_changed_bytes_of_a_replay_are_found(service: HonestService, verdict: Check) -> None:
    """A replay that means the same and is spelled otherwise is not the first answer."""
    records = service.finish()
    position = calls(records, "charge", key="k1", phase="settle")[0]
    call = records[position]
    assert isinstance(call, Call)
    records[position] = msgspec.structs.replace(call, answer=call.answer.replace(": ", ":"))
    assert rules(verdict(records)) == {"replay_changed"}


def test_two_requests_under_one_key_are_found(service: HonestService, verdict: Check) -> None:
    """A key that was used for 1000 takes effect for 999 too."""
    records = service.finish()
    position = calls(records, "charge", key="k1", phase="load")[-1]
    other = told(records, calls(records, "charge", key="k1")[0])
    answer = json.dumps(other | {"id": "id-99", "amount": 999})
    replace(records, position, status=200, answer=answer)
    assert "key_took_effect_twice" in rules(verdict(records))


def test_one_movement_for_two_keys_is_found(service: HonestService, verdict: Check) -> None:
    """A second request was answered with the movement of the first."""
    service.by_key["k9"] = service.by_key["k2"]
    first = service.records[calls(service.records, "charge", key="k2")[0]]
    assert isinstance(first, Call)
    body = first.body.replace("k2", "k9")
    service.by_key["k9"] = ("charge" + body, service.by_key["k2"][1])
    service.send("charge", "k9", body)
    assert "one_movement_for_two_keys" in rules(verdict(service.finish()))


def test_another_amount_than_asked_for_is_found(service: HonestService, verdict: Check) -> None:
    """The answer to a charge tells of other money than was sent."""
    records = service.finish()
    for position in calls(records, "charge", key="k2"):
        change(records, position, amount=301)
    assert rules(verdict(records)) == {"answer_differs_from_request"}


def test_a_request_that_stays_open_is_found(service: HonestService, verdict: Check) -> None:
    """Sent again after healing, a request still gets no certain answer."""
    records = service.finish()
    position = calls(records, "charge", key="k3", phase="settle")[0]
    replace(records, position, status=0, answer="", error="timeout")
    assert "unsettled" in rules(verdict(records))


def test_a_key_called_used_that_is_not_is_found(service: HonestService, verdict: Check) -> None:
    """A request under a fresh key is refused as a misuse."""
    records = service.finish()
    position = calls(records, "withdraw", key="w4", phase="load")[0]
    change(records, position, code="idempotency_key_reused")
    assert rules(verdict(records)) == {"wrongly_refused"}


# --- balances ------------------------------------------------------------


@pytest.mark.parametrize(
    ("change_parts", "rule"),
    [
        ({"withdrawable": -1}, "negative_balance"),
        ({"withdrawable": +5}, "balance_does_not_add_up"),
        ({"withdrawable": +5, "total": +5}, "impossible_balance"),
        ({"withdrawable": -300, "locked": +300}, "impossible_balance"),
        ({"held": +400, "withdrawable": -400}, "impossible_balance"),
        ({"locked": -300, "total": -300}, "impossible_balance"),
    ],
)
@pytest.mark.parametrize("number", [2, 5])
def test_an_impossible_balance_is_found(
    service: HonestService, verdict: Check, change_parts: dict[str, int], rule: str, number: int
) -> None:
    """A balance that was never there, even in one read, even if its parts add up."""
    records = service.finish()
    position = calls(records, "balance")[number]
    parts = told(records, position)
    values = {name: parts[name] + by for name, by in change_parts.items()}
    if rule == "negative_balance":
        values = {"withdrawable": -1, "total": parts["total"] - parts["withdrawable"] - 1}
    change(records, position, **values)
    assert rule in rules(verdict(records))


def test_a_stale_read_is_found(service: HonestService, verdict: Check) -> None:
    """A read that began after a charge was acknowledged, and does not count it."""
    records = service.finish()
    position = calls(records, "balance")[1]
    change(records, position, withdrawable=0, total=0)
    assert rules(verdict(records)) == {"impossible_balance"}


def test_a_charge_in_flight_may_or_may_not_be_counted(verdict: Check) -> None:
    """Both balances are possible while a charge is under way; a third is not."""
    for seen, expected in ((0, set()), (1000, set()), (500, {"impossible_balance"})):
        service = HonestService()
        charge = service.charge("k1", 1000)
        records = service.finish()
        answer = {
            "user_id": "ann",
            "currency": "USD",
            "total": seen,
            "withdrawable": seen,
            "locked": 0,
            "held": 0,
        }
        read = Call("balance", charge.start, charge.end, cell="cell", wallet="ann USD", status=200)
        records.insert(2, msgspec.structs.replace(read, answer=json.dumps(answer)))
        assert rules(verdict(records)) == expected


def test_an_overdraft_is_found(service: HonestService, verdict: Check) -> None:
    """A withdrawal of more than there ever was is accepted."""
    service.movements["id-1"].amount = 10_000  # the service believes that it has more
    service.withdraw("w9", 4000)
    assert "overdrawn" in rules(verdict(service.finish()))


def test_a_refusal_although_there_was_enough_is_found(service: HonestService, verdict: Check) -> None:
    """A withdrawal is refused for want of money that was there all the time."""
    records = service.finish()
    for position in calls(records, "withdraw", key="w4"):
        call = records[position]
        assert isinstance(call, Call)
        records[position] = msgspec.structs.replace(call, body=call.body.replace("5000", "50"))
    assert "wrongly_refused" in rules(verdict(records))


# --- lists ------------------------------------------------------------


def test_disorder_and_doubles_in_a_list_are_found(service: HonestService, verdict: Check) -> None:
    """A page that is not newest first; a page with one transaction twice."""
    records = service.finish()
    position = calls(records, "transactions")[1]
    items = told(records, position)["transactions"]
    change(records, position, transactions=items[::-1])
    assert rules(verdict(records)) == {"not_newest_first"}
    change(records, position, transactions=[items[0], *items])
    assert rules(verdict(records)) == {"listed_twice"}


def test_a_gap_in_a_page_is_found(service: HonestService, verdict: Check) -> None:
    """A page leaves out a transaction that is newer than its last one."""
    records = service.finish()
    position = calls(records, "transactions")[0]
    items = told(records, position)["transactions"]
    change(records, position, transactions=[items[0], items[2]])
    assert rules(verdict(records)) == {"missing_in_list"}


def test_an_unread_wallet_is_found(service: HonestService, verdict: Check) -> None:
    """A run that forgot the last look at a wallet proves nothing about it."""
    records = service.finish()
    del records[calls(records, "transactions", phase="final")[0]]
    assert "wallet_unread" in rules(verdict(records))


# --- withdrawals and the bank ------------------------------------------------------------


def test_a_withdrawal_that_never_ends_is_found(service: HonestService, verdict: Check) -> None:
    """Open after healing, requires_attention included."""
    for states in ((), ("processing",), ("processing", "requires_attention")):
        open_one = HonestService()
        open_one.charge("k1", 100)
        open_one.withdraw("w1", 100)
        open_one.move("id-2", *states)
        assert rules(verdict(open_one.finish())) == {"never_ended"}


def test_a_withdrawal_that_ends_too_late_is_found(verdict: Check) -> None:
    """Ended, but 61 seconds after healing."""
    service = HonestService()
    service.charge("k1", 100)
    service.withdraw("w1", 100)
    service.mark("load_ended")
    service.mark("healed")
    service.now += 61
    service.move("id-2", "processing", "completed")
    records = service.finish()
    late = [record for record in records if isinstance(record, Mark) and record.at > 61]
    records = [record for record in records if record not in late or record.name == "end"]
    assert rules(verdict(records)) == {"ended_too_late"}


def test_a_payout_without_completion_is_found(service: HonestService, verdict: Check) -> None:
    """The money was given back, and the bank paid nevertheless."""
    records = service.finish()
    records.append(BankPayout("po-x", "ref-id-6", 200, "USD", "paid"))
    records.append(BankPayout("po-y", "ref-id-5", 100, "USD", "paid"))
    findings = verdict(records)
    assert rules(findings) == {"refunded_although_paid"}
    assert findings.total == 2


def test_a_refund_that_the_bank_knows_nothing_of_is_found(service: HonestService, verdict: Check) -> None:
    """Failed here, but the bank never declined it: it may still pay."""
    records = service.finish()
    position = calls(records, "find")[0]
    not_found = json.dumps({"code": "payout_not_found"})
    replace(records, position, status=404, answer=not_found)
    assert rules(verdict(records)) == {"refunded_undeclined"}


def test_differences_with_the_bank_are_found(service: HonestService, verdict: Check) -> None:
    """Paid twice, paid for nobody, another amount, completed but not paid, returned there and not here."""
    records = service.finish()
    payouts = {record.reference: record for record in records if isinstance(record, BankPayout)}

    def with_bank(*lines: BankPayout) -> set[str]:
        others = [record for record in records if not isinstance(record, BankPayout)]
        return rules(verdict([*others, *lines]))

    first, returned, last = (payouts[f"ref-id-{number}"] for number in (4, 7, 8))
    replace = msgspec.structs.replace
    assert with_bank(first, returned, last) == set()
    assert "paid_twice" in with_bank(first, first, returned, last)
    stranger = BankPayout("po-z", "nobody", 5, "USD", "paid")
    assert with_bank(first, returned, last, stranger) == {"paid_unknown"}
    assert with_bank(replace(first, amount=399), returned, last) == {"paid_other_amount"}
    assert with_bank(replace(first, currency="EUR"), returned, last) == {"paid_other_amount"}
    assert with_bank(first, returned) == {"completed_but_not_paid"}
    assert with_bank(replace(first, status="returned"), returned, last) == {"return_differs"}
    assert with_bank(first, replace(returned, status="paid"), last) == {"return_differs"}
    assert with_bank(replace(first, payout_id="po-other"), returned, last) == {"other_payout"}


def test_a_withdrawal_that_goes_back_is_found(service: HonestService, verdict: Check) -> None:
    """Seen completed, then processing; and a history that is no legal path or was rewritten."""
    records = service.finish()
    position = calls(records, "withdrawal", subject="id-4")[0]
    seen = told(records, position)
    looked = records[position]
    assert isinstance(looked, Call)
    later = msgspec.structs.replace(looked, start=0.29, end=0.295)
    records.insert(-1, doctored(later, status="processing", history=seen["history"][:2]))
    assert "went_back" in rules(verdict(records))
    change(
        records,
        -2,
        status="failed",
        history=[*seen["history"][:2], seen["history"][2] | {"status": "failed"}],
    )
    assert "history_rewritten" in rules(verdict(records))

    illegal = HonestService()
    illegal.charge("k1", 100)
    illegal.withdraw("w1", 100)
    illegal.move("id-2", "completed")
    assert rules(verdict(illegal.finish())) == {"illegal_move"}


def test_broken_words_about_cancelling_are_found(service: HonestService, verdict: Check) -> None:
    """Cancelled, then paid; 409, then cancelled; cancelled though nobody asked."""
    records = service.finish()
    accepted = calls(records, "cancel")[0]
    refusal = msgspec.structs.replace(
        records[accepted], status=409, answer='{"status":409,"code":"not_cancellable"}'
    )
    assert rules(verdict([*records[:accepted], refusal, *records[accepted + 1 :]])) == {"cancelled_after_409"}
    assert rules(verdict([*records[:accepted], *records[accepted + 1 :]])) == {"cancelled_unasked"}

    undone = HonestService()
    undone.charge("k1", 100)
    undone.withdraw("w1", 100)
    undone.cancel("id-2")
    undone.move("id-2", "processing", "completed")
    assert "cancel_undone" in rules(verdict(undone.finish()))


def test_a_withdrawal_that_is_gone_is_found(service: HonestService, verdict: Check) -> None:
    """Accepted, and 404 later."""
    records = service.finish()
    position = calls(records, "withdrawal", phase="final")[0]
    gone = '{"status":404,"code":"withdrawal_not_found"}'
    replace(records, position, status=404, answer=gone)
    assert "withdrawal_lost" in rules(verdict(records))


# --- conduct ------------------------------------------------------------


def test_answers_that_may_never_be_are_found(service: HonestService, verdict: Check) -> None:
    """A 500, a refusal that is no problem document, a 503 that does not say when to come back."""
    answers = [
        (500, '{"status":500,"code":"internal_error"}', "unexpected_status"),
        (422, "<html>", "no_problem"),
        (503, '{"status":503,"code":"unavailable"}', "no_retry_after"),
    ]
    for status, answer, rule in answers:
        records = list(service.records)
        records.append(Call("balance", 1.0, 1.1, status=status, answer=answer, wallet="ann USD"))
        if status == 422:
            records[-1] = Call("charge", 1.0, 1.1, status=status, answer=answer)
        assert rule in rules(verdict(records))


def test_trouble_slow_restarts_and_torn_histories_are_found(service: HonestService, verdict: Check) -> None:
    """What the run noticed itself is a violation too, and half a history proves nothing."""
    records = service.finish()
    assert rules(verdict([*records, Comeback("relay", 3.0, 5.5)])) == {"slow_restart"}
    assert rules(verdict([*records, Comeback("relay", 3.0, 14.0, within_s=15.0)])) == set()
    assert rules(verdict([*records, Comeback("relay", 3.0, 16.0, within_s=15.0)])) == {"slow_restart"}
    assert rules(verdict([*records, Trouble("not_healthy", 9.0, "healthy", "503")])) == {"not_healthy"}
    assert rules(verdict(records[:-1])) == {"incomplete"}
    end = records[-1]
    assert isinstance(end, Mark)
    stepped = Mark("end", end.at, end.wall + 0.5)
    assert rules(verdict([*records[:-1], stepped])) == {"clock_stepped"}

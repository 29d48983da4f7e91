"""Rounds of bank calls against a scripted bank: the calls, their repetition, the outcome."""

import asyncio
from dataclasses import replace
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.bank.protocol import PayoutOrder
from actors.settlement import Before, RoundLimits, run_round
from tests.fakes import HANG, ScriptedBank
from tests.polling import poll_until
from wallet.outcomes import (
    Accepted,
    BankUnavailable,
    Declined,
    FindOutcome,
    NotFound,
    OutcomeUnknown,
    Paid,
    PayOutcome,
    Postponed,
    Unresolved,
)

ORDER = PayoutOrder("w", 100, "USD")
LIMITS = RoundLimits(tries=3, delay_min_s=0.0001, delay_max_s=0.001, deadline_s=5)
AWAY = BankUnavailable("refused")
UNKNOWN = OutcomeUnknown("timeout")


async def test_one_call_when_all_is_well() -> None:
    """Goal: the first round of a withdrawal that succeeds costs one call."""
    bank = ScriptedBank(pays=[Paid("p")])
    outcome = await run_round(bank, ORDER, LIMITS, Before())
    assert isinstance(outcome, Paid)
    assert bank.calls == ["pay"]


async def test_a_later_round_asks_before_it_pays() -> None:
    """Goal: what an earlier round may have got through is found, not ordered again."""
    bank = ScriptedBank(finds=[Paid("p")])
    assert isinstance(await run_round(bank, ORDER, LIMITS, Before(ask_first=True)), Paid)
    assert bank.calls == ["find"]


async def test_not_found_means_not_yet() -> None:
    """Goal: after a 404 the order is sent again under its key; it is never taken for a decline."""
    bank = ScriptedBank(finds=[NotFound()], pays=[Paid("p")])
    assert isinstance(await run_round(bank, ORDER, LIMITS, Before(ask_first=True)), Paid)
    assert bank.calls == ["find", "pay"]


async def test_an_unknown_outcome_is_asked_about_within_the_round() -> None:
    """Goal: after an unknown outcome the next try begins with a question."""
    bank = ScriptedBank(pays=[UNKNOWN, UNKNOWN], finds=[NotFound(), Declined("closed")])
    outcome = await run_round(bank, ORDER, LIMITS, Before())
    assert type(outcome) is Declined
    assert bank.calls == ["pay", "find", "pay", "find"]


async def test_unavailable_tries_do_not_ask() -> None:
    """Goal: what was certainly not accepted needs no question."""
    bank = ScriptedBank(pays=[AWAY, AWAY, Paid("p")])
    assert type(await run_round(bank, ORDER, LIMITS, Before())) is Paid
    assert bank.calls == ["pay", "pay", "pay"]


async def test_tries_are_limited() -> None:
    """Goal: a round ends after its tries, with the last word."""
    bank = ScriptedBank(pays=[AWAY] * 9)
    assert type(await run_round(bank, ORDER, LIMITS, Before())) is BankUnavailable
    assert bank.calls == ["pay"] * LIMITS.tries


async def test_unavailable_after_unknown_stays_unknown() -> None:
    """Goal: that the bank can't be reached now does not undo what it may have done before."""
    bank = ScriptedBank(pays=[UNKNOWN], finds=[AWAY, AWAY])
    assert type(await run_round(bank, ORDER, LIMITS, Before())) is OutcomeUnknown


@pytest.mark.parametrize("before", [[AWAY], [AWAY, AWAY]])
async def test_the_deadline_in_the_middle_of_a_call_makes_it_unknown(before: list[BankUnavailable]) -> None:
    """Goal: a call cut off by the round's deadline may have paid."""
    bank = ScriptedBank(pays=[*before, HANG])
    outcome = await run_round(bank, ORDER, replace(LIMITS, deadline_s=0.05), Before())
    assert type(outcome) is OutcomeUnknown


async def test_the_deadline_between_calls_keeps_what_is_known() -> None:
    """Goal: a deadline that falls into a wait adds no doubt."""
    bank = ScriptedBank(pays=[AWAY] * 3)
    limits = RoundLimits(tries=3, delay_min_s=60, delay_max_s=60, deadline_s=0.05)
    outcome = await run_round(bank, ORDER, limits, Before())
    assert type(outcome) is BankUnavailable


async def test_cancelled_in_the_middle_nothing_is_made_up() -> None:
    """Goal: a cancelled round raises; its lease and the next round find out what happened."""
    bank = ScriptedBank(pays=[HANG])
    task = asyncio.create_task(run_round(bank, ORDER, LIMITS, Before()))
    await poll_until(lambda: bank.calls)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_no_further_try_once_the_circuit_is_open() -> None:
    """Goal: a round does not go on knocking when others have found the bank away."""
    bank = ScriptedBank(pays=[AWAY] * 3)
    await run_round(bank, ORDER, LIMITS, Before(), may_retry=lambda: False)
    assert bank.calls == ["pay"]


# --- What is believed ---


async def test_a_decline_after_an_unknown_outcome_is_asked_about() -> None:
    """Goal: a refusal of a call whose forerunner may have been paid gives no money back; the look-up does."""
    bank = ScriptedBank(pays=[UNKNOWN, Declined("stray")], finds=[NotFound(), Paid("p")])
    assert type(await run_round(bank, ORDER, LIMITS, Before())) is Paid
    assert bank.calls == ["pay", "find", "pay", "find"]


async def test_a_decline_of_a_later_attempt_is_asked_about() -> None:
    """Goal: whatever became of the attempt before, only the look-up can say declined."""
    bank = ScriptedBank(pays=[Declined("stray")] * 3, finds=[NotFound()] * 3)
    outcome = await run_round(bank, ORDER, LIMITS, Before(ask_first=True))
    assert type(outcome) is OutcomeUnknown


async def test_accepted_ends_the_round() -> None:
    """Goal: what the bank has, and will say later, is neither sent nor asked about again in this round."""
    bank = ScriptedBank(pays=[Accepted("p")])
    assert type(await run_round(bank, ORDER, LIMITS, Before())) is Accepted
    assert bank.calls == ["pay"]


async def test_what_was_accepted_is_never_sent_again() -> None:
    """Goal: after `Accepted` a 404 contradicts: it is for a person."""
    bank = ScriptedBank(finds=[NotFound()])
    outcome = await run_round(bank, ORDER, LIMITS, Before(ask_first=True, accepted=True))
    assert type(outcome) is Unresolved
    assert bank.calls == ["find"]


@pytest.mark.parametrize(("age_h", "calls"), [(23.9, ["find", "pay"]), (24.1, ["find"])])
async def test_an_old_key_is_not_sent_again(age_h: float, calls: list[str]) -> None:
    """Goal: beyond the bank's idempotency window an order that it does not know is for a person."""
    bank = ScriptedBank(pays=[Paid("p")], finds=[NotFound()])
    outcome = await run_round(bank, ORDER, LIMITS, Before(ask_first=True, key_age_s=age_h * 3600))
    assert type(outcome) is (Paid if "pay" in calls else Unresolved)
    assert bank.calls == calls


@pytest.mark.parametrize("ask_first", [False, True])
async def test_a_decline_about_us_is_postponed(ask_first: bool) -> None:
    """Goal: that our account is short is no verdict on the order, neither as reply nor when asked."""
    limits = replace(LIMITS, our_codes=frozenset({"balance_insufficient"}))
    short = Declined("balance_insufficient")
    bank = ScriptedBank(pays=[short], finds=[short])
    outcome = await run_round(bank, ORDER, limits, Before(ask_first=ask_first))
    assert isinstance(outcome, Postponed)
    assert outcome.code == "balance_insufficient"
    assert bank.calls == ["find", "pay"][not ask_first :]


async def test_paused_payouts_are_only_asked_about() -> None:
    """Goal: no order leaves while payouts are paused; what the bank has already is found all the same."""
    bank = ScriptedBank(finds=[NotFound(), Paid("p")])
    for expected in (Postponed, Paid):
        outcome = await run_round(bank, ORDER, LIMITS, Before(ask_first=True), may_pay=lambda: False)
        assert type(outcome) is expected
    assert type(await run_round(bank, ORDER, LIMITS, Before(), may_pay=lambda: False)) is Postponed
    assert bank.calls == ["find", "find"]


@pytest.mark.parametrize(("left_s", "calls"), [(5.0, []), (60.0, ["pay"])])
async def test_no_call_may_outlast_the_lease(left_s: float, calls: list[str]) -> None:
    """Goal: with less of the lease left than a call may take, the bank is not called: another attempt may begin."""
    bank = ScriptedBank(pays=[Paid("p")])
    limits = replace(LIMITS, call_s=10.0)
    outcome = await run_round(bank, ORDER, limits, Before(), lease_ends_at=monotonic() + left_s)
    assert type(outcome) is (Paid if calls else BankUnavailable)
    assert bank.calls == calls


answers = st.sampled_from([Paid("p"), Declined("closed"), AWAY, UNKNOWN])
questions = st.sampled_from([Paid("p"), Declined("closed"), AWAY, UNKNOWN, NotFound()])


@given(
    pays=st.lists(answers, min_size=3, max_size=3),
    finds=st.lists(questions, min_size=3, max_size=3),
    ask_first=st.booleans(),
)
def test_a_round_never_says_more_than_the_bank_did(
    pays: list[PayOutcome], finds: list[FindOutcome], ask_first: bool
) -> None:
    """Goal: whatever the bank answers, an end is the bank's own word, and doubt stays doubt."""
    bank = ScriptedBank(pays=pays, finds=finds)
    outcome = asyncio.run(run_round(bank, ORDER, LIMITS, Before(ask_first=ask_first)))
    heard = []
    remaining = {"pay": iter(pays), "find": iter(finds)}
    for call in bank.calls:
        heard.append((call, next(remaining[call])))
    assert len([call for call in bank.calls if call == "pay"]) <= LIMITS.tries
    last = heard[-1][1]
    if isinstance(outcome, Paid | Declined):
        assert type(outcome) is type(last)
    else:
        assert not any(isinstance(answer, Paid) for _, answer in heard)
        assert not any(call == "find" and isinstance(answer, Declined) for call, answer in heard)
        if any(call == "pay" and isinstance(answer, OutcomeUnknown) for call, answer in heard):
            assert type(outcome) is OutcomeUnknown
    doubt = ask_first
    for call, answer in heard:
        if call == "pay":
            assert (
                not (doubt and isinstance(answer, Declined))
                or type(outcome) is not Declined
                or answer is not last
            )
            doubt = doubt or isinstance(answer, OutcomeUnknown)
    for position, (call, answer) in enumerate(heard[:-1]):
        if call == "pay" and isinstance(answer, OutcomeUnknown):
            assert heard[position + 1][0] == "find", "after an unknown outcome: ask first"

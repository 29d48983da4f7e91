"""Rounds of bank calls against a scripted bank: what is asked, when it is asked again, what comes out."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.bank.protocol import PayoutOrder
from actors.settlement import RoundLimits, run_round
from tests.fakes import HANG, ScriptedBank
from tests.polling import poll_until
from wallet.outcomes import BankUnavailable, Declined, NotFound, OutcomeUnknown, Paid

ORDER = PayoutOrder("w", 100, "USD")
LIMITS = RoundLimits(tries=3, delay_min_s=0.0001, delay_max_s=0.001, deadline_s=5)
AWAY = BankUnavailable("refused")
UNKNOWN = OutcomeUnknown("timeout")


async def test_one_call_when_all_is_well() -> None:
    """Goal: the first round of a withdrawal that succeeds costs one call."""
    bank = ScriptedBank(pays=[Paid("p")])
    outcome = await run_round(bank, ORDER, LIMITS, ask_first=False)
    assert isinstance(outcome, Paid)
    assert bank.calls == ["pay"]


async def test_a_later_round_asks_before_it_pays() -> None:
    """Goal: what an earlier round may have got through is found, not ordered again."""
    bank = ScriptedBank(finds=[Paid("p")])
    assert isinstance(await run_round(bank, ORDER, LIMITS, ask_first=True), Paid)
    assert bank.calls == ["find"]


async def test_not_found_means_not_yet() -> None:
    """Goal: after a 404 the order is sent again under its key; it is never taken for a decline."""
    bank = ScriptedBank(finds=[NotFound()], pays=[Paid("p")])
    assert isinstance(await run_round(bank, ORDER, LIMITS, ask_first=True), Paid)
    assert bank.calls == ["find", "pay"]


async def test_an_unknown_outcome_is_asked_about_within_the_round() -> None:
    """Goal: after an unknown outcome the next try begins with a question."""
    bank = ScriptedBank(pays=[UNKNOWN, UNKNOWN], finds=[NotFound(), Declined("closed")])
    outcome = await run_round(bank, ORDER, LIMITS, ask_first=False)
    assert type(outcome) is Declined
    assert bank.calls == ["pay", "find", "pay", "find"]


async def test_unavailable_tries_do_not_ask() -> None:
    """Goal: what was certainly not accepted needs no question."""
    bank = ScriptedBank(pays=[AWAY, AWAY, Paid("p")])
    assert type(await run_round(bank, ORDER, LIMITS, ask_first=False)) is Paid
    assert bank.calls == ["pay", "pay", "pay"]


async def test_tries_are_limited() -> None:
    """Goal: a round ends after its tries, with the last word."""
    bank = ScriptedBank(pays=[AWAY] * 9)
    assert type(await run_round(bank, ORDER, LIMITS, ask_first=False)) is BankUnavailable
    assert bank.calls == ["pay"] * LIMITS.tries


async def test_unavailable_after_unknown_stays_unknown() -> None:
    """Goal: that the bank can't be reached now does not undo what it may have done before."""
    bank = ScriptedBank(pays=[UNKNOWN], finds=[AWAY, AWAY])
    assert type(await run_round(bank, ORDER, LIMITS, ask_first=False)) is OutcomeUnknown


@pytest.mark.parametrize("before", [[AWAY], [AWAY, AWAY]])
async def test_the_deadline_in_the_middle_of_a_call_makes_it_unknown(before: list[BankUnavailable]) -> None:
    """Goal: a call cut off by the round's deadline may have paid."""
    bank = ScriptedBank(pays=[*before, HANG])
    outcome = await run_round(bank, ORDER, replace(LIMITS, deadline_s=0.05), ask_first=False)
    assert type(outcome) is OutcomeUnknown


async def test_the_deadline_between_calls_keeps_what_is_known() -> None:
    """Goal: a deadline that falls into a wait adds no doubt."""
    bank = ScriptedBank(pays=[AWAY] * 3)
    limits = RoundLimits(tries=3, delay_min_s=60, delay_max_s=60, deadline_s=0.05)
    outcome = await run_round(bank, ORDER, limits, ask_first=False)
    assert type(outcome) is BankUnavailable


async def test_cancelled_in_the_middle_nothing_is_made_up() -> None:
    """Goal: a cancelled round raises; its lease and the next round find out what happened."""
    bank = ScriptedBank(pays=[HANG])
    task = asyncio.create_task(run_round(bank, ORDER, LIMITS, ask_first=False))
    await poll_until(lambda: bank.calls)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_no_further_try_once_the_circuit_is_open() -> None:
    """Goal: a round does not go on knocking when others have found the bank away."""
    bank = ScriptedBank(pays=[AWAY] * 3)
    await run_round(bank, ORDER, LIMITS, ask_first=False, may_retry=lambda: False)
    assert bank.calls == ["pay"]


answers = st.sampled_from([Paid("p"), Declined("closed"), AWAY, UNKNOWN])
questions = st.sampled_from([Paid("p"), Declined("closed"), AWAY, UNKNOWN, NotFound()])


@given(
    pays=st.lists(answers, min_size=3, max_size=3),
    finds=st.lists(questions, min_size=3, max_size=3),
    ask_first=st.booleans(),
)
def test_a_round_never_says_more_than_the_bank_did(
    pays: list[Paid], finds: list[Paid], ask_first: bool
) -> None:
    """Goal: whatever the bank answers, an end is the bank's own word, and doubt stays doubt."""
    bank = ScriptedBank(pays=pays, finds=finds)
    outcome = asyncio.run(run_round(bank, ORDER, LIMITS, ask_first=ask_first))
    heard = []
    remaining = {"pay": iter(pays), "find": iter(finds)}
    for call in bank.calls:
        heard.append((call, next(remaining[call])))
    assert len([call for call in bank.calls if call == "pay"]) <= LIMITS.tries
    last = heard[-1][1]
    if isinstance(outcome, Paid | Declined):
        assert type(outcome) is type(last)
    else:
        assert not any(isinstance(answer, Paid | Declined) for _, answer in heard)
        if any(call == "pay" and isinstance(answer, OutcomeUnknown) for call, answer in heard):
            assert type(outcome) is OutcomeUnknown
    for position, (call, answer) in enumerate(heard[:-1]):
        if call == "pay" and isinstance(answer, OutcomeUnknown):
            assert heard[position + 1][0] == "find", "after an unknown outcome: ask first"

"""The meaning of the bank's answers for the money: accepted, declined, returned; and the author of each transition."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wallet.transitioning import (
    AMOUNT,
    ATTENTION,
    CANCELLED,
    COMPLETED,
    FAILED,
    ID,
    LADDER,
    LEASE,
    NOW,
    PENDING,
    PROCESSING,
    RETURNED,
    Setting,
    news,
    told,
)
from wallet.commands import Cancel, Replay, Settle
from wallet.errors import IllegalMove, NotCancellable
from wallet.ledger import Kind, Wallet
from wallet.money import AMOUNT_MAX
from wallet.outcomes import (
    Accepted,
    BankUnavailable,
    Declined,
    OutcomeUnknown,
    Paid,
    Postponed,
    Returned,
    RoundOutcome,
)

# --- Accepted: the bank will say later ---


def test_accepted_uses_no_rung_however_often_it_is_said() -> None:
    """Goal: what the bank has accepted is no failure: no rung, no failure code, the instant of the first time."""
    setting, now = Setting(), NOW
    for _ in range(3 * LADDER.rounds_max):
        begun = setting.begin(now)
        assert begun is not None
        setting.take(replace_outcome(begun, Accepted()), now=now)
        now = setting.withdrawal.next_attempt_at
    assert (setting.withdrawal.status, setting.withdrawal.rounds) == (PROCESSING, 0)
    assert setting.withdrawal.accepted_at == NOW
    assert setting.withdrawal.failure_code is None


def test_accepted_is_not_before_what_was_there_when_the_clock_has_stepped_back() -> None:
    """Goal: an acceptance is written down with an instant between the withdrawal's creation and its last change."""
    setting = Setting()
    begun = setting.begin(NOW)
    assert begun is not None
    setting.take(replace_outcome(begun, Accepted()), now=NOW - timedelta(seconds=20))
    assert setting.withdrawal.accepted_at is not None
    assert NOW <= setting.withdrawal.accepted_at <= setting.withdrawal.updated_at


@pytest.mark.parametrize("outcome", [BankUnavailable("refused"), OutcomeUnknown("timeout")])
def test_that_the_bank_can_not_be_asked_uses_no_rung_of_what_it_accepted(outcome: RoundOutcome) -> None:
    """Goal: an outage of days ends nothing that the bank has: it is asked again when it is back."""
    setting, now = Setting(), NOW
    for number in range(3 * LADDER.rounds_max):
        begun = setting.begin(now)
        assert begun is not None
        setting.take(replace_outcome(begun, outcome if number else Accepted()), now=now)
        now = setting.withdrawal.next_attempt_at
    assert (setting.withdrawal.status, setting.withdrawal.rounds) == (PROCESSING, 0)


@given(st.timedeltas(timedelta(0), timedelta(days=30)), st.floats(0, 1, exclude_max=True))
def test_accepted_is_asked_about_more_and_more_seldom(waited: timedelta, jitter: float) -> None:
    """Goal: between two questions lie 10 s at least and an hour at most, and about as long as it has waited."""
    delay = LADDER.accepted_delay(waited, jitter)
    assert timedelta(seconds=10) <= delay <= timedelta(hours=1)
    assert delay >= min(waited, timedelta(hours=1))
    assert LADDER.accepted_delay(waited + delay, jitter) >= delay


def replace_outcome(command: Settle, outcome: RoundOutcome) -> Settle:
    return Settle(command.withdrawal_id, command.user_id, command.attempt, outcome, command.lease_until)


# --- Declines ---


def test_a_decline_that_comes_late_refunds_nothing() -> None:
    """Goal: an attempt that lost its lease may not give money back: the one after it may have been paid."""
    setting = Setting()
    first = setting.begin()
    assert first is not None
    second = setting.begin(NOW + timedelta(seconds=20))
    assert second is not None
    setting.take(replace_outcome(first, Declined("closed")))
    assert (setting.withdrawal.status, setting.wallet.held) == (PROCESSING, 5 + AMOUNT)
    setting.take(replace_outcome(second, Declined("closed")))
    assert (setting.withdrawal.status, setting.wallet.held) == (FAILED, 5)


def test_declined_after_it_was_paid_is_a_return() -> None:
    """Goal: the money of a payout that the bank takes back days later is available again, with the code."""
    setting = Setting(COMPLETED)
    setting.take(told(Declined("account_closed"), was_completed=True))
    assert (setting.withdrawal.status, setting.withdrawal.failure_code) == (RETURNED, "account_closed")
    assert (setting.wallet.available, setting.wallet.held) == (11 + AMOUNT, 5)


def test_a_decline_heard_before_the_payment_returns_nothing() -> None:
    """Goal: a look-up that was made before it was paid is no news of a return."""
    setting = Setting(PROCESSING)
    transitions = setting.take(news(Paid("p1")), told(Declined("closed")))
    assert isinstance(transitions.outcomes[1], IllegalMove)
    assert setting.withdrawal.status is COMPLETED


def test_a_decline_because_of_us_is_postponed_once() -> None:
    """Goal: it refunds nobody, uses no rung and stays due; said again after payouts went on, it is for a person."""
    setting = Setting(PROCESSING)
    for status in (PROCESSING, ATTENTION):
        setting.withdrawal.next_attempt_at = LEASE
        setting.take(news(Postponed("the bank declines because of us", "balance_insufficient")))
        assert setting.withdrawal.status is status
        assert (setting.withdrawal.rounds, setting.wallet.held) == (0, 5 + AMOUNT)
    assert setting.withdrawal.failure_code == "balance_insufficient"


# --- Returns ---


def test_a_return_of_less_is_booked_as_what_came() -> None:
    """Goal: the wallet has again what the bank sent back, not what it had paid."""
    setting = Setting(COMPLETED)
    [transfer] = setting.take(told(Returned("p1", AMOUNT - 30))).transfers
    assert (transfer.kind, transfer.amount) == (Kind.RETURN, AMOUNT - 30)
    assert (setting.withdrawal.status, setting.wallet.available) == (RETURNED, 11 + AMOUNT - 30)


def test_a_return_into_a_full_wallet_is_taken() -> None:
    """Goal: money that comes back is never refused by the wallet's limit."""
    setting = Setting(COMPLETED)
    setting.wallet = Wallet("ann", "USD", available=AMOUNT_MAX, at=NOW)
    setting.take(told(Returned("p1", AMOUNT)))
    assert setting.wallet.available == AMOUNT_MAX + AMOUNT


# --- Who, and lost history ---


@pytest.mark.parametrize("outcome", [Paid("p1"), Declined("closed"), Accepted(), Returned("p1", AMOUNT)])
def test_what_the_bank_knows_of_was_attempted(outcome: RoundOutcome) -> None:
    """Goal: a pending withdrawal that the bank knows had an attempt, though it was lost: the next one asks first."""
    setting = Setting()
    setting.take(told(outcome))
    assert setting.withdrawal.attempts == 1
    assert setting.path[:2] == [PENDING, PROCESSING]


def test_each_move_says_who_made_it() -> None:
    """Goal: the history names the client, the actor, the reconciler, the bank or the operator of each move."""
    for setting, command, by in (
        (Setting(), Cancel(ID, "client:shop"), "client:shop"),
        (Setting(PROCESSING), news(Paid("p1")), "actor"),
        (Setting(PROCESSING), told(Paid("p1")), "reconciler"),
        (Setting(COMPLETED), told(Returned("p1", AMOUNT)), "bank"),
        (Setting(ATTENTION), Replay(ID, "operator:eve"), "operator:eve"),
    ):
        assert [row.made_by for row in setting.take(command).history] == [by]


def test_what_the_bank_may_know_is_not_cancelled() -> None:
    """Goal: after lost history `pending` does not prove that the bank was never called."""
    setting = Setting()
    setting.withdrawal.may_be_known = True
    [refusal] = setting.take(Cancel(ID)).outcomes
    assert isinstance(refusal, NotCancellable)
    setting.withdrawal.may_be_known = False
    assert setting.take(Cancel(ID)).outcomes == [CANCELLED]

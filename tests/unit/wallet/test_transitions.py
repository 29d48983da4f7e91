"""Properties of `wallet.decide_transitions`: every pair of state and command, and any sequence of news in any order."""

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from uuid import UUID

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
    MONEY,
    NOW,
    PENDING,
    PROCESSING,
    RETURNED,
    Setting,
    news,
    told,
)
from wallet.commands import Cancel, Replay, Settle, WithdrawalCommand
from wallet.decide_transitions import decide_transitions
from wallet.errors import IllegalMove, NotCancellable, WalletError, WithdrawalNotFound
from wallet.ids import uuid7_sequence
from wallet.ledger import Kind
from wallet.outcomes import (
    Accepted,
    BankUnavailable,
    Declined,
    OutcomeUnknown,
    Paid,
    Postponed,
    Returned,
    RoundOutcome,
    Unresolved,
)
from wallet.withdrawal import OPEN_STATES, Status, can_move, is_legal_history

COMMANDS: dict[str, WithdrawalCommand] = {
    "paid": news(Paid("p1")),
    "declined": news(Declined("closed")),
    "unavailable": news(BankUnavailable("refused")),
    "unknown": news(OutcomeUnknown("timeout")),
    "unknown, of an earlier attempt": news(OutcomeUnknown("timeout"), attempt=0),
    "unknown, of a lease that was given up": news(OutcomeUnknown("timeout"), lease_until=NOW),
    "cancel": Cancel(ID),
    "looked up: paid": told(Paid("p1")),
    "looked up: declined": told(Declined("closed")),
    "looked up: declined after it was paid": told(Declined("closed"), was_completed=True),
    "looked up: accepted": told(Accepted()),
    "looked up: unresolved": told(Unresolved("contradiction", "the bank knows nothing of it")),
    "return": told(Returned("p1", AMOUNT)),
    "return of more": told(Returned("p1", AMOUNT + 1)),
    "accepted": news(Accepted()),
    "accepted, by an earlier attempt": news(Accepted(), attempt=0),
    "unresolved": news(Unresolved("contradiction", "the bank knows nothing of it")),
    "postponed": news(Postponed("payouts are paused")),
    "replay": Replay(ID),
}

# What each command makes of each state: the state that follows, or the refusal, which changes nothing.
TABLE: dict[str, dict[Status, Status | type[WalletError]]] = {
    "paid": {
        PENDING: COMPLETED,
        PROCESSING: COMPLETED,
        ATTENTION: COMPLETED,
        COMPLETED: COMPLETED,
        FAILED: IllegalMove,
        CANCELLED: IllegalMove,
        RETURNED: RETURNED,
    },
    "declined": {
        PENDING: PENDING,
        PROCESSING: FAILED,
        ATTENTION: ATTENTION,
        COMPLETED: IllegalMove,
        FAILED: FAILED,
        CANCELLED: IllegalMove,
        RETURNED: RETURNED,
    },
    "looked up: paid": {
        PENDING: COMPLETED,
        PROCESSING: COMPLETED,
        ATTENTION: COMPLETED,
        COMPLETED: COMPLETED,
        FAILED: IllegalMove,
        CANCELLED: IllegalMove,
        RETURNED: RETURNED,
    },
    "looked up: declined": {
        PENDING: FAILED,
        PROCESSING: FAILED,
        ATTENTION: FAILED,
        COMPLETED: IllegalMove,
        FAILED: FAILED,
        CANCELLED: IllegalMove,
        RETURNED: RETURNED,
    },
    "looked up: declined after it was paid": {
        PENDING: FAILED,
        PROCESSING: FAILED,
        ATTENTION: FAILED,
        COMPLETED: RETURNED,
        FAILED: FAILED,
        CANCELLED: IllegalMove,
        RETURNED: RETURNED,
    },
    "looked up: accepted": {
        **{status: status for status in Status},
        PENDING: PROCESSING,
        ATTENTION: PROCESSING,
    },
    "looked up: unresolved": {**{status: status for status in Status}, PROCESSING: ATTENTION},
    "accepted": {status: status for status in Status},
    "accepted, by an earlier attempt": {status: status for status in Status},
    "unresolved": {**{status: status for status in Status}, PROCESSING: ATTENTION},
    "postponed": {status: status for status in Status},
    "unavailable": {status: status for status in Status},
    "unknown": {status: status for status in Status},
    "unknown, of an earlier attempt": {status: status for status in Status},
    "unknown, of a lease that was given up": {status: status for status in Status},
    "cancel": {
        PENDING: CANCELLED,
        PROCESSING: NotCancellable,
        ATTENTION: NotCancellable,
        COMPLETED: NotCancellable,
        FAILED: NotCancellable,
        CANCELLED: CANCELLED,
        RETURNED: NotCancellable,
    },
    "return": {
        PENDING: RETURNED,
        PROCESSING: RETURNED,
        ATTENTION: RETURNED,
        COMPLETED: RETURNED,
        FAILED: IllegalMove,
        CANCELLED: IllegalMove,
        RETURNED: RETURNED,
    },
    "return of more": {
        **dict.fromkeys(Status, IllegalMove),
        RETURNED: RETURNED,
    },
    "replay": {
        **dict.fromkeys(Status, IllegalMove),
        ATTENTION: PROCESSING,
    },
}


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_pair_of_state_and_command(status: Status, command: str) -> None:
    """Goal: each command in each state does what the table says, and the money follows the state."""
    setting = Setting(status)
    before = replace(setting.withdrawal)
    transitions = setting.take(COMMANDS[command])
    expected = TABLE[command][status]
    [answer] = transitions.outcomes
    if isinstance(expected, Status):
        assert answer == setting.withdrawal.status == expected
    else:
        assert isinstance(answer, expected)
        assert setting.withdrawal == before
        assert not [
            *transitions.transfers,
            *transitions.history,
            *transitions.changed,
            *transitions.announced,
        ]
    assert setting.kinds == MONEY[setting.withdrawal.status]
    for source, target in pairwise(setting.path):
        assert can_move(source, target)
    expected_held = 5 + (AMOUNT if setting.withdrawal.status in OPEN_STATES else 0)
    assert (setting.wallet.held, setting.wallet.locked) == (expected_held, 3)


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("command", COMMANDS)
def test_the_same_command_twice_in_a_batch(status: Status, command: str) -> None:
    """Goal: a repeated command moves money and state once; all its changes happen once, rungs included."""
    once, twice = Setting(status), Setting(status)
    once.take(COMMANDS[command])
    twice.take(COMMANDS[command], COMMANDS[command])
    assert twice.withdrawal == once.withdrawal
    assert twice.kinds == once.kinds
    assert twice.path == once.path


@pytest.mark.parametrize("outcome", [BankUnavailable("refused"), OutcomeUnknown("timeout")])
def test_news_that_came_twice_use_up_one_rung(outcome: RoundOutcome) -> None:
    """Goal: a batch sent again after a lost commit counts its rounds once: the ladder stays as long."""
    setting = Setting(PROCESSING)
    for _ in range(LADDER.rounds_max + 1):
        setting.take(news(outcome))
    assert setting.withdrawal.rounds == 1
    assert setting.withdrawal.status is PROCESSING


def test_an_unknown_withdrawal_is_refused_alone() -> None:
    """Goal: a command for a withdrawal that is not there is answered so, and the others go through."""
    setting = Setting(PROCESSING)
    transitions = setting.take(Cancel(UUID(int=2)), news(Paid("p1")))
    assert isinstance(transitions.outcomes[0], WithdrawalNotFound)
    assert transitions.outcomes[1] is COMPLETED


@pytest.mark.parametrize("outcome", [BankUnavailable("refused"), OutcomeUnknown("timeout")])
def test_the_last_rung(outcome: RoundOutcome) -> None:
    """Goal: after the last round, not one sooner, it requires attention and its money stays held."""
    setting = Setting()
    now = NOW
    for round_number in range(1, LADDER.rounds_max + 1):
        assert setting.withdrawal.status in (PENDING, PROCESSING)
        begun = setting.begin(now)
        assert begun is not None
        assert begun.attempt == round_number
        setting.take(news(outcome, attempt=begun.attempt, lease_until=begun.lease_until), now=now)
        now = setting.withdrawal.next_attempt_at
    assert setting.withdrawal.status is ATTENTION
    assert setting.path == [PENDING, PROCESSING, ATTENTION]
    assert setting.withdrawal.failure_code in ("bank_unavailable", "outcome_unknown")
    assert setting.wallet.held == 5 + AMOUNT


def test_replay_begins_the_ladder_anew() -> None:
    """Goal: after a replay all rungs are there again, it is due at once, and it is announced."""
    setting = Setting(ATTENTION, rounds=LADDER.rounds_max)
    transitions = setting.take(Replay(ID))
    assert transitions.announced == [setting.withdrawal]
    assert (setting.withdrawal.rounds, setting.withdrawal.next_attempt_at) == (0, NOW)
    assert setting.begin() is not None


def test_outcomes_of_different_kinds_are_never_equal() -> None:
    """Goal: paid and declined can't be mixed up, whatever stands in them."""
    kinds = (Paid, Declined, Accepted, BankUnavailable, OutcomeUnknown, Postponed)
    assert len({kind("x") for kind in kinds}) == len(kinds)


def test_the_payout_id_is_kept() -> None:
    """Goal: the bank's name for the payout is kept with `completed`, earlier failures are forgotten."""
    setting = Setting(PROCESSING)
    setting.take(news(OutcomeUnknown("timeout")))
    assert setting.withdrawal.failure_code == "outcome_unknown"
    setting.take(news(Paid("p1")))
    after = setting.withdrawal
    assert (after.bank_reference, after.failure_code) == ("p1", None)


def test_a_return_that_overtakes_the_payment_is_both() -> None:
    """Goal: money that came back was paid before: both are written, in order, and the wallet has it again."""
    setting = Setting(PROCESSING)
    transitions = setting.take(told(Returned("p1", AMOUNT)), news(Paid("p1")))
    assert transitions.outcomes == [RETURNED, RETURNED]
    assert setting.path == [PROCESSING, COMPLETED, RETURNED]
    assert [transfer.kind for transfer in transitions.transfers] == [Kind.PAYOUT, Kind.RETURN]
    assert (setting.wallet.available, setting.wallet.held) == (11 + AMOUNT, 5)


@pytest.mark.parametrize("then", [None, told(Returned("p1", AMOUNT))])
def test_a_return_of_another_payout_is_refused(then: Settle | None) -> None:
    """Goal: a payout that we know nothing of, sent back, is no reason to give ours back: that one was paid."""
    setting = Setting(PROCESSING)
    transitions = setting.take(*filter(None, (news(Paid("p1")), then, told(Returned("p2", AMOUNT)))))
    assert isinstance(transitions.outcomes[-1], IllegalMove)
    assert setting.path[-1] is (RETURNED if then else COMPLETED)
    assert setting.wallet.available == 11 + (AMOUNT if then else 0)


# --- Any sequence ---

outcomes: st.SearchStrategy[RoundOutcome] = st.sampled_from(
    (
        Paid("p1"),
        Declined("closed"),
        BankUnavailable("refused"),
        OutcomeUnknown("timeout"),
        Accepted(),
        Postponed("payouts are paused"),
        Postponed("the bank declines because of us", "balance_insufficient"),
        Unresolved("contradiction", "the bank knows nothing of it"),
    )
)
steps = st.lists(
    st.one_of(
        st.just("begin"),
        st.just("wait"),
        st.tuples(st.just("news"), st.integers(0, 5), outcomes),
        st.sampled_from((Cancel(ID), told(Returned("p1", AMOUNT)), Replay(ID))),
    ),
    max_size=40,
)


@given(steps)
def test_any_sequence_moves_the_money_once(sequence: list[object]) -> None:
    """Goal: whatever comes, doubled, late and in any order: a legal path, and each movement of money once."""
    setting = Setting()
    now, attempts = NOW, []
    for step in sequence:
        if step == "wait":
            now += timedelta(seconds=60)
        elif step == "begin":
            begun = setting.begin(now)
            attempts += [begun] if begun else []
        elif isinstance(step, tuple):
            if attempts:
                attempt = attempts[step[1] % len(attempts)]
                setting.take(news(step[2], attempt=attempt.attempt, lease_until=attempt.lease_until), now=now)
        else:
            assert isinstance(step, Cancel | Settle | Replay)
            setting.take(step, now=now)
        status = setting.withdrawal.status
        assert is_legal_history(setting.path)
        assert setting.path[-1] is status
        assert setting.withdrawal.history_length == len(setting.path)
        assert setting.kinds == MONEY[status]
        assert setting.wallet.held == 5 + (AMOUNT if status in OPEN_STATES else 0)
        gone = AMOUNT if status is COMPLETED else 0
        assert setting.wallet.total == 11 + 3 + 5 + AMOUNT - gone
        assert 0 <= setting.withdrawal.rounds <= LADDER.rounds_max
        assert (setting.withdrawal.bank_reference is None) == (status not in (COMPLETED, RETURNED))
        if status is CANCELLED:
            assert not attempts, "cancelled, though the bank may have been called"


@given(steps)
def test_one_batch_or_many(sequence: list[object]) -> None:
    """Goal: commands decided in one batch leave what they leave one by one."""
    whole, single = Setting(PROCESSING), Setting(PROCESSING)
    commands: list[WithdrawalCommand] = []
    for step in sequence:
        if isinstance(step, tuple):
            commands.append(news(step[2]))
        elif isinstance(step, Cancel | Settle | Replay):
            commands.append(step)
    transitions = whole.take(*commands)
    answers = [single.take(command).outcomes[0] for command in commands]
    assert [repr(answer) for answer in transitions.outcomes] == [repr(answer) for answer in answers]
    assert whole.withdrawal == single.withdrawal
    assert (whole.kinds, whole.path) == (single.kinds, single.path)


@given(st.lists(st.integers(-3600, 3600), max_size=8))
def test_a_clock_that_steps_back(seconds: list[int]) -> None:
    """Goal: written instants never go back; the clock decides which withdrawals are due."""
    setting = Setting(PROCESSING)
    written = [setting.withdrawal.updated_at]
    for offset in seconds:
        now = setting.wallet.at = NOW + timedelta(seconds=offset)  # nothing later is in the wallet's books
        setting.withdrawal.rounds = 0
        setting.take(news(BankUnavailable("away"), lease_until=setting.withdrawal.next_attempt_at), now=now)
        assert now < setting.withdrawal.next_attempt_at <= now + LADDER.delay_min
        written.append(setting.withdrawal.updated_at)
    setting.wallet.at = NOW - timedelta(days=1)
    transitions = setting.take(news(Paid("p1")), now=setting.wallet.at)
    written += [transitions.history[0].at, setting.withdrawal.updated_at, transitions.transfers[0].created_at]
    assert written == sorted(written)


# --- The ladder ---


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_delays_grow_within_their_bounds(rounds: int, jitter: float) -> None:
    """Goal: waits double from the shortest to the longest; jitter takes off a half at most, adds nothing."""
    full = LADDER.delay(rounds, 0)
    assert full == min(LADDER.delay_min * 2 ** min(rounds - 1, 10), LADDER.delay_max)
    assert full / 2 <= LADDER.delay(rounds, jitter) <= full
    assert LADDER.delay(rounds + 1, jitter) >= LADDER.delay(rounds, jitter)


def test_withdrawals_do_not_come_back_all_at_once() -> None:
    """Goal: what failed together is due at different times, so that a healed bank is not flooded."""
    due = set()
    for id in (next(uuid7_sequence(NOW)) for _ in range(50)):
        setting = Setting(PROCESSING)
        setting.withdrawal.id = id
        command = Settle(id, "ann", 1, BankUnavailable("refused"), LEASE)
        decide_transitions([command], {id: setting.withdrawal}, {("ann", "USD"): setting.wallet}, NOW, LADDER)
        due.add(setting.withdrawal.next_attempt_at)
    assert len(due) > 40

"""Properties of `wallet.settle`: every pair of state and command, and any sequence of news in any order."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet.commands import Cancel, Replay, Return, Settle, WithdrawalCommand
from wallet.errors import IllegalMove, NotCancellable, NotReturnable, WalletError, WithdrawalNotFound
from wallet.ids import uuid7_sequence
from wallet.ledger import Kind, Wallet
from wallet.outcomes import BankUnavailable, Declined, OutcomeUnknown, Paid, PayOutcome
from wallet.settle import Ladder, Moves, Withdrawal, decide_moves
from wallet.withdrawal import OPEN_STATES, Status, can_move, is_legal_history

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LEASE = NOW + timedelta(seconds=20)
ID = UUID(int=1)
AMOUNT = 70
LADDER = Ladder(rounds_max=3, delay_min=timedelta(seconds=2), delay_max=timedelta(seconds=30))

PENDING, PROCESSING, COMPLETED, FAILED = Status.PENDING, Status.PROCESSING, Status.COMPLETED, Status.FAILED
CANCELLED, ATTENTION, RETURNED = Status.CANCELLED, Status.REQUIRES_ATTENTION, Status.RETURNED

MONEY: dict[Status, Counter[str]] = {
    COMPLETED: Counter({Kind.PAYOUT: 1}),
    FAILED: Counter({Kind.REFUND: 1}),
    CANCELLED: Counter({Kind.REFUND: 1}),
    RETURNED: Counter({Kind.PAYOUT: 1, Kind.RETURN: 1}),
    PENDING: Counter(),
    PROCESSING: Counter(),
    ATTENTION: Counter(),
}
"""Transfers, after the reserve, that a withdrawal in this state must have had."""


class Setting:
    """One withdrawal in a wallet that has other money too."""

    def __init__(self, status: Status = PENDING, *, rounds: int = 0) -> None:
        begun = status not in (PENDING, CANCELLED)
        self.withdrawal = Withdrawal(
            ID,
            "ann",
            "USD",
            AMOUNT,
            status,
            attempts=int(begun),
            rounds=rounds,
            next_attempt_at=LEASE if status is PROCESSING else NOW,
            history_length=1,
            bank_reference="p1" if status in (COMPLETED, RETURNED) else None,
            updated_at=NOW,
        )
        held = 5 + (AMOUNT if status in OPEN_STATES else 0)
        self.wallet = Wallet("ann", "USD", available=11, locked=3, held=held, at=NOW)
        self.kinds = Counter(MONEY[status])
        self.path = [status]

    def take(self, *commands: WithdrawalCommand, now: datetime = NOW) -> Moves:
        """Decide the commands in one batch, as of `now` by the clock."""
        self.wallet.not_before(now)
        moves = decide_moves(commands, {ID: self.withdrawal}, {("ann", "USD"): self.wallet}, now, LADDER)
        self.kinds.update(transfer.kind for transfer in moves.transfers)
        self.path += [Status(row.status) for row in moves.history]
        return moves

    def begin(self, now: datetime = NOW) -> Settle | None:
        """Do what `begin` in db/queries/withdrawals.sql does; return a Settle to be given an outcome."""
        withdrawal = self.withdrawal
        due = withdrawal.status is PROCESSING and withdrawal.next_attempt_at <= now
        if not due and withdrawal.status is not PENDING:
            return None
        if withdrawal.status is PENDING:
            withdrawal.history_length += 1
            withdrawal.status = PROCESSING
            self.path.append(PROCESSING)
        withdrawal.attempts += 1
        withdrawal.next_attempt_at = now + timedelta(seconds=20)
        return news(Paid("p1"), attempt=withdrawal.attempts, lease_until=withdrawal.next_attempt_at)


def news(outcome: PayOutcome, *, attempt: int = 1, lease_until: datetime | None = LEASE) -> Settle:
    """Return news of an attempt, the first one unless said otherwise."""
    return Settle(ID, "ann", attempt, outcome, lease_until)


COMMANDS: dict[str, WithdrawalCommand] = {
    "paid": news(Paid("p1")),
    "declined": news(Declined("closed")),
    "unavailable": news(BankUnavailable("refused")),
    "unknown": news(OutcomeUnknown("timeout")),
    "unknown, of an earlier attempt": news(OutcomeUnknown("timeout"), attempt=0),
    "unknown, of a lease that was given up": news(OutcomeUnknown("timeout"), lease_until=NOW),
    "cancel": Cancel(ID),
    "return": Return(ID, "p1", AMOUNT, "USD"),
    "return in another currency": Return(ID, "p1", AMOUNT, "EUR"),
    "return of another amount": Return(ID, "p1", AMOUNT - 1, "USD"),
    "replay": Replay(ID),
}

# What each command makes of each state: the state that follows, or the refusal, which changes nothing.
TABLE: dict[str, dict[Status, Status | type[WalletError]]] = {
    "paid": {
        PENDING: IllegalMove,
        PROCESSING: COMPLETED,
        ATTENTION: COMPLETED,
        COMPLETED: COMPLETED,
        FAILED: IllegalMove,
        CANCELLED: IllegalMove,
        RETURNED: RETURNED,
    },
    "declined": {
        PENDING: IllegalMove,
        PROCESSING: FAILED,
        ATTENTION: FAILED,
        COMPLETED: IllegalMove,
        FAILED: FAILED,
        CANCELLED: IllegalMove,
        RETURNED: IllegalMove,
    },
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
        PENDING: NotReturnable,
        PROCESSING: RETURNED,
        ATTENTION: RETURNED,
        COMPLETED: RETURNED,
        FAILED: NotReturnable,
        CANCELLED: NotReturnable,
        RETURNED: RETURNED,
    },
    "return in another currency": {
        **dict.fromkeys(Status, IllegalMove),
        RETURNED: RETURNED,
    },
    "return of another amount": {
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
    moves = setting.take(COMMANDS[command])
    expected = TABLE[command][status]
    [answer] = moves.outcomes
    if isinstance(expected, Status):
        assert answer == setting.withdrawal.status == expected
    else:
        assert isinstance(answer, expected)
        assert setting.withdrawal == before
        assert not [*moves.transfers, *moves.history, *moves.changed, *moves.rung]
    assert setting.kinds == MONEY[setting.withdrawal.status]
    for source, target in pairwise(setting.path):
        assert can_move(source, target)
    expected_held = 5 + (AMOUNT if setting.withdrawal.status in OPEN_STATES else 0)
    assert (setting.wallet.held, setting.wallet.locked) == (expected_held, 3)


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("command", COMMANDS)
def test_the_same_command_twice_in_a_batch(status: Status, command: str) -> None:
    """Goal: a doubled command moves money and state once; what changed by it changes once, rungs too."""
    once, twice = Setting(status), Setting(status)
    once.take(COMMANDS[command])
    twice.take(COMMANDS[command], COMMANDS[command])
    assert twice.withdrawal == once.withdrawal
    assert twice.kinds == once.kinds
    assert twice.path == once.path


@pytest.mark.parametrize("outcome", [BankUnavailable("refused"), OutcomeUnknown("timeout")])
def test_news_that_came_twice_use_up_one_rung(outcome: PayOutcome) -> None:
    """Goal: a batch sent again after a lost commit counts its rounds once: the ladder stays as long."""
    setting = Setting(PROCESSING)
    for _ in range(LADDER.rounds_max + 1):
        setting.take(news(outcome))
    assert setting.withdrawal.rounds == 1
    assert setting.withdrawal.status is PROCESSING


def test_an_unknown_withdrawal_is_refused_alone() -> None:
    """Goal: a command for a withdrawal that is not there is answered so, and the others go through."""
    setting = Setting(PROCESSING)
    moves = setting.take(Cancel(UUID(int=2)), news(Paid("p1")))
    assert isinstance(moves.outcomes[0], WithdrawalNotFound)
    assert moves.outcomes[1] is COMPLETED


@pytest.mark.parametrize("outcome", [BankUnavailable("refused"), OutcomeUnknown("timeout")])
def test_the_last_rung(outcome: PayOutcome) -> None:
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
    """Goal: after a replay all rungs are there again, it is due at once, and the doorbell rings."""
    setting = Setting(ATTENTION, rounds=LADDER.rounds_max)
    moves = setting.take(Replay(ID))
    assert moves.rung == [setting.withdrawal]
    assert (setting.withdrawal.rounds, setting.withdrawal.next_attempt_at) == (0, NOW)
    assert setting.begin() is not None


def test_outcomes_of_different_kinds_are_never_equal() -> None:
    """Goal: paid and declined can't be mixed up, whatever stands in them."""
    kinds = (Paid, Declined, BankUnavailable, OutcomeUnknown)
    assert len({kind("x") for kind in kinds}) == len(kinds)


def test_the_payout_id_is_kept() -> None:
    """Goal: the bank's name for the payout is kept with `completed`, earlier failures are forgotten."""
    setting = Setting(PROCESSING)
    setting.take(news(OutcomeUnknown("timeout")))
    assert setting.withdrawal.failure_code == "outcome_unknown"
    setting.take(news(Paid("p1")))
    assert (setting.withdrawal.bank_reference, setting.withdrawal.failure_code) == ("p1", None)


def test_a_return_that_overtakes_the_payment_is_both() -> None:
    """Goal: money that came back was paid before: both are written, in order, and the wallet has it again."""
    setting = Setting(PROCESSING)
    moves = setting.take(Return(ID, "p1", AMOUNT, "USD"), news(Paid("p1")))
    assert moves.outcomes == [RETURNED, RETURNED]
    assert setting.path == [PROCESSING, COMPLETED, RETURNED]
    assert [transfer.kind for transfer in moves.transfers] == [Kind.PAYOUT, Kind.RETURN]
    assert (setting.wallet.available, setting.wallet.held) == (11 + AMOUNT, 5)


@pytest.mark.parametrize("then", [None, Return(ID, "p1", AMOUNT, "USD")])
def test_a_return_of_another_payout_is_refused(then: Return | None) -> None:
    """Goal: a payout that we know nothing of, sent back, is no reason to give ours back: that one was paid."""
    setting = Setting(PROCESSING)
    moves = setting.take(*filter(None, (news(Paid("p1")), then, Return(ID, "p2", AMOUNT, "USD"))))
    assert isinstance(moves.outcomes[-1], IllegalMove)
    assert setting.path[-1] is (RETURNED if then else COMPLETED)
    assert setting.wallet.available == 11 + (AMOUNT if then else 0)


# --- Any sequence ---

outcomes: st.SearchStrategy[PayOutcome] = st.sampled_from(
    (
        Paid("p1"),
        Declined("closed"),
        BankUnavailable("refused"),
        OutcomeUnknown("timeout"),
    )
)
steps = st.lists(
    st.one_of(
        st.just("begin"),
        st.just("wait"),
        st.tuples(st.just("news"), st.integers(0, 5), outcomes),
        st.sampled_from((Cancel(ID), Return(ID, "p1", AMOUNT, "USD"), Replay(ID))),
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
            assert isinstance(step, Cancel | Return | Replay)
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
        elif isinstance(step, Cancel | Return | Replay):
            commands.append(step)
    moves = whole.take(*commands)
    answers = [single.take(command).outcomes[0] for command in commands]
    assert [repr(answer) for answer in moves.outcomes] == [repr(answer) for answer in answers]
    assert whole.withdrawal == single.withdrawal
    assert (whole.kinds, whole.path) == (single.kinds, single.path)


@given(st.lists(st.integers(-3600, 3600), max_size=8))
def test_a_clock_that_steps_back(seconds: list[int]) -> None:
    """Goal: what is written never carries an earlier instant than before; what is due is judged by the clock."""
    setting = Setting(PROCESSING)
    written = [setting.withdrawal.updated_at]
    for offset in seconds:
        now = setting.wallet.at = NOW + timedelta(seconds=offset)  # nothing later is in the wallet's books
        setting.withdrawal.rounds = 0
        setting.take(news(BankUnavailable("away"), lease_until=setting.withdrawal.next_attempt_at), now=now)
        assert now < setting.withdrawal.next_attempt_at <= now + LADDER.delay_min
        written.append(setting.withdrawal.updated_at)
    setting.wallet.at = NOW - timedelta(days=1)
    moves = setting.take(news(Paid("p1")), now=setting.wallet.at)
    written += [moves.history[0].at, setting.withdrawal.updated_at, moves.transfers[0].created_at]
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
        decide_moves([command], {id: setting.withdrawal}, {("ann", "USD"): setting.wallet}, NOW, LADDER)
        due.add(setting.withdrawal.next_attempt_at)
    assert len(due) > 40

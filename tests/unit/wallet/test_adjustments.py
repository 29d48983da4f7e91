"""Adjustments: what an operator may add and take."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet.adjustments import Adjust, adjust, signed
from wallet.decide_follow_ups import decide_follow_ups
from wallet.decision import Decision, ReleasesNeeded
from wallet.errors import BalanceLimitExceeded, IdempotencyKeyReused, InsufficientFunds
from wallet.follow_ups import Facts
from wallet.ledger import Account, MaturedLock, Wallet
from wallet.limits import UNLIMITED, Ceiling, Limits
from wallet.money import AMOUNT_MAX
from wallet.receipts import AdjustmentReceipt, Recorded

NOW = datetime(2026, 11, 28, tzinfo=UTC)
AMOUNTS = st.integers(-AMOUNT_MAX, AMOUNT_MAX).filter(bool)


def asked(amount: int, key: str = "k", reason: str = "chargeback 7", by: str = "adam") -> Adjust:
    return Adjust("default", key, "ann", "USD", amount, reason, by)


def wallet(available: int, locked: int = 0, held: int = 0) -> Wallet:
    return Wallet("ann", "USD", available, locked, held, at=NOW)


@given(AMOUNTS, st.integers(0, AMOUNT_MAX))
def test_nothing_goes_below_zero_or_beyond_the_greatest(amount: int, available: int) -> None:
    """Goal: an adjustment changes the wallet by exactly its amount, or is refused and changes nothing."""
    ann, decision = wallet(available), Decision()
    fits = 0 <= available + amount <= AMOUNT_MAX
    try:
        booked = adjust(asked(amount), {("ann", "USD"): ann}, NOW, decision, UNLIMITED)
    except (InsufficientFunds, BalanceLimitExceeded):
        assert (fits, ann.available, decision.transfers) == (False, available, [])
        return
    assert fits
    assert not isinstance(booked, ReleasesNeeded)
    [row] = decision.transfers
    assert (ann.available, row.available_after) == (available + amount, available + amount)
    assert signed(row.amount, row.debit_account) == amount == booked[1].amount
    assert {row.debit_account, row.credit_account} == {Account.FUNDING, Account.AVAILABLE}
    assert (row.made_by, json.loads(row.metadata or "")) == ("adam", {"reason": "chargeback 7"})


def test_only_what_is_withdrawable_is_taken() -> None:
    """Goal: money that is locked or held stays; what is due is released first."""
    ann = wallet(10, locked=50, held=7)
    ann.matured = [MaturedLock(UUID(int=1), NOW - timedelta(hours=1), 20)]
    with pytest.raises(InsufficientFunds) as refused:
        adjust(asked(-31), {("ann", "USD"): ann}, NOW, Decision(), UNLIMITED)
    assert (refused.value.withdrawable, refused.value.amount) == (30, 31)
    decision = Decision()
    adjust(asked(-30), {("ann", "USD"): ann}, NOW, decision, UNLIMITED)
    assert [row.kind for row in decision.transfers] == ["release", "adjustment"]
    assert (ann.available, ann.locked, ann.held) == (0, 30, 7)


def test_the_limit_of_balances_holds() -> None:
    """Goal: an operator's money obeys WBS_MAX_BALANCE too."""
    limits = Limits(balance=Ceiling(100, {}))
    with pytest.raises(BalanceLimitExceeded):
        adjust(asked(1), {("ann", "USD"): wallet(100)}, NOW, Decision(), limits)


def test_a_key_stands_for_one_adjustment() -> None:
    """Goal: again, by whomever, it is the same one; another amount or reason under the key is refused."""
    ann = wallet(100)
    commands = [asked(-5), asked(-5, by="eve"), asked(5), asked(-5, reason="another"), asked(-5, key="k2")]
    decision = decide_follow_ups(commands, {}, Facts(), {("ann", "USD"): ann}, NOW)
    first, again, other_amount, other_reason, other_key = decision.outcomes
    assert isinstance(first, Recorded)
    assert isinstance(again, Recorded)
    assert isinstance(again.receipt, AdjustmentReceipt)
    assert (again.receipt, again.replayed, again.receipt.by) == (first.receipt, True, "adam")
    assert isinstance(other_amount, IdempotencyKeyReused)
    assert isinstance(other_reason, IdempotencyKeyReused)
    assert isinstance(other_key, Recorded)
    assert ann.available == 90

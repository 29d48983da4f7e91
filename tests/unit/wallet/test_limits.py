"""Limits of requests and wallets: what `decide` refuses, and what the optimistic statement is told of it."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wallet.strategies import NOW, Wallets, batches, decide_copy, wallets, with_own_keys
from tests.unit.wallet.test_optimistic import would_be_taken
from wallet.commands import Charge, LedgerCommand, Leg, MakeTransfer, PlaceHold, Withdraw
from wallet.decide import decide
from wallet.errors import (
    AmountLimitExceeded,
    BalanceLimitExceeded,
    OpenHoldsLimitExceeded,
    OpenLocksLimitExceeded,
    WalletError,
)
from wallet.ledger import Wallet
from wallet.limits import UNLIMITED, Ceiling, Limits
from wallet.money import AMOUNT_MAX
from wallet.optimistic import optimistic_batch
from wallet.receipts import Recorded

LATER = NOW + timedelta(days=1)
ceilings = st.builds(
    Ceiling,
    st.sampled_from((1, 20, 300, AMOUNT_MAX)),
    st.dictionaries(st.sampled_from(("USD", "EUR", "JPY")), st.integers(1, 300)),
)


@given(batches.map(with_own_keys), wallets, ceilings)
def test_a_balance_is_limited_either_way(
    batch: list[LedgerCommand], before: Wallets, ceiling: Ceiling
) -> None:
    """Goal: the statement accepts a batch exactly if each request is accepted within the limit, from what there is."""
    expected = optimistic_batch(batch, balance=ceiling)
    decided = decide_copy(batch, before, limits=Limits(balance=ceiling))
    accepted = all(isinstance(outcome, Recorded) for outcome in decided.decision.outcomes)
    assert would_be_taken(expected, before) == (accepted and not decided.decision.releases)


@given(batches.map(with_own_keys), wallets, ceilings)
def test_no_total_grows_beyond_the_limit(
    batch: list[LedgerCommand], before: Wallets, ceiling: Ceiling
) -> None:
    """Goal: no batch takes a wallet beyond its limit, and one that is beyond it gets nothing more."""
    decided = decide_copy(batch, before, limits=Limits(balance=ceiling))
    for id, wallet in decided.wallets.items():
        assert wallet.total <= max(ceiling.of(id[1]), before[id].total)


def outcomes(
    requests: list[LedgerCommand], limits: Limits, *users: str, locks: int = 0, holds: int = 0
) -> list[type[WalletError] | None]:
    """Decide for wallets that have so much open; None: taken."""
    found = {(user, "USD"): Wallet(user, "USD", 1000, at=NOW) for user in users}
    for wallet in found.values():
        wallet.open_locks, wallet.open_holds = locks, holds
    decided = decide(requests, {}, found, NOW, limits).outcomes
    return [type(one) if isinstance(one, WalletError) else None for one in decided]


def charge(key: str, **more: object) -> Charge:
    return Charge("default", key, "ann", "USD", 1, **more)  # type: ignore[arg-type]


def test_locks_are_limited() -> None:
    """Goal: as many locks as the limit has room for, in one batch too; charges without a lock go on."""
    requests: list[LedgerCommand] = [
        charge("a", release_at=LATER),
        charge("b", release_at=LATER),
        charge("c"),
    ]
    refused = OpenLocksLimitExceeded
    assert outcomes(requests, Limits(open_locks=3), "ann", locks=2) == [None, refused, None]
    assert outcomes(requests, Limits(open_locks=3), "ann", locks=9) == [refused, refused, None]
    assert outcomes(requests, UNLIMITED, "ann", locks=9) == [None, None, None]


def test_locks_of_payees_are_limited() -> None:
    """Goal: legs that are locked count for the payee, all of a transfer together."""
    legs = (Leg("bob", 1, LATER), Leg("bob", 1, LATER), Leg("bob", 1, None))
    transfer = MakeTransfer("default", "t", "ann", "USD", 3, legs)
    assert outcomes([transfer], Limits(open_locks=3), "ann", "bob", locks=1) == [None]
    assert outcomes([transfer], Limits(open_locks=3), "ann", "bob", locks=2) == [OpenLocksLimitExceeded]


def test_holds_are_limited() -> None:
    """Goal: likewise for holds, with an end or without."""
    requests: list[LedgerCommand] = [
        PlaceHold("default", "a", "ann", "USD", 1),
        PlaceHold("default", "b", "ann", "USD", 1, LATER),
        Withdraw("default", "c", "ann", "USD", 1),
    ]
    assert outcomes(requests, Limits(open_holds=3), "ann", holds=2) == [None, OpenHoldsLimitExceeded, None]
    assert outcomes(requests, UNLIMITED, "ann", holds=9) == [None, None, None]


def test_a_payees_balance_is_limited() -> None:
    """Goal: money that comes by a transfer is limited as a charge is, all legs together."""
    legs = (Leg("bob", 30, None), Leg("bob", 30, LATER))
    transfer = MakeTransfer("default", "t", "ann", "USD", 60, legs)
    assert outcomes([transfer], Limits(balance=Ceiling(1060)), "ann", "bob") == [None]
    assert outcomes([transfer], Limits(balance=Ceiling(1059)), "ann", "bob") == [BalanceLimitExceeded]


@pytest.mark.parametrize("amount", [99, 100, 101])
def test_amounts_are_limited_by_kind(amount: int) -> None:
    """Goal: charges and withdrawals have a limit each, per currency; transfers and holds have none."""
    limits = Limits(charge=Ceiling(100, {"JPY": 7}), withdrawal=Ceiling(AMOUNT_MAX, {"USD": 100}))
    beyond = [AmountLimitExceeded] if amount > 100 else [type(None)]
    for command in (
        Charge("default", "k", "ann", "USD", amount),
        Withdraw("default", "k", "ann", "USD", amount),
    ):
        assert [type(limits.refusal(command))] == beyond
    assert isinstance(limits.refusal(Charge("default", "k", "ann", "JPY", amount)), AmountLimitExceeded)
    assert limits.refusal(Withdraw("default", "k", "ann", "EUR", amount)) is None
    assert limits.refusal(PlaceHold("default", "k", "ann", "USD", amount)) is None

"""Rows of the ledger and their effect on a wallet."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet.ledger import ACCOUNTS, Account, Kind, Transfer, Wallet

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ID = UUID(int=1)

balances = st.integers(0, 100)


def _move(
    wallet: Wallet,
    kind: Kind,
    amount: int,
    release_at: datetime | None = None,
    *,
    from_locked: bool = False,
) -> Transfer:
    return wallet.move(kind, amount, reference=ID, release_at=release_at, from_locked=from_locked)


@given(balances, balances, balances, st.sampled_from(Kind), st.integers(1, 150), st.booleans())
def test_a_move_does_what_its_accounts_say(
    available: int, locked: int, held: int, kind: Kind, amount: int, lock: bool
) -> None:
    """Goal: the debited balance falls, the credited one rises, nothing else changes, none goes below zero."""
    wallet = Wallet("ann", "USD", available, locked, held, at=NOW)
    release_at = NOW if lock and kind in (Kind.CHARGE, Kind.RECEIVE) else None
    from_locked = lock and kind in (Kind.REVERSAL, Kind.SEND)
    expected = {"available": available, "locked": locked, "held": held}
    expected |= dict.fromkeys(("funding", "bank", "peer"), 10**6)
    debit, credit = ACCOUNTS[kind]
    if release_at is not None:
        credit = Account.LOCKED
    if from_locked:
        debit = Account.LOCKED
    expected[debit] -= amount
    expected[credit] += amount
    if min(expected.values()) < 0:
        with pytest.raises(AssertionError):
            _move(wallet, kind, amount, release_at, from_locked=from_locked)
        return
    transfer = _move(wallet, kind, amount, release_at, from_locked=from_locked)
    found = {name: getattr(wallet, name) for name in ("available", "locked", "held")}
    assert found.items() <= expected.items()
    assert (transfer.debit_account, transfer.credit_account, transfer.amount) == (debit, credit, amount)
    assert found == {name: getattr(transfer, f"{name}_after") for name in found}


@pytest.mark.parametrize("amount", [0, -1])
def test_nothing_moves_by_nothing(amount: int) -> None:
    """Goal: amounts are positive, or the caller has a fault that must be seen."""
    with pytest.raises(AssertionError):
        _move(Wallet("ann", "USD", available=5, at=NOW), Kind.CHARGE, amount)


def test_transactions_are_charges_and_withdrawals() -> None:
    """Goal: the kept number counts what the list of transactions shows, and no steps of these."""
    wallet = Wallet("ann", "USD", available=9, locked=9, held=9, at=NOW)
    for kind in Kind:
        _move(wallet, kind, 1)
    assert wallet.transactions == 2


@given(st.lists(st.integers(-5, 5), max_size=10))
def test_instants_never_go_back(offsets: list[int]) -> None:
    """Goal: whatever instants a wallet gets, the instants and identifiers that it writes never go back."""
    wallet = Wallet("ann", "USD", at=NOW)
    transfers = [_move(wallet, Kind.CHARGE, 1)]
    for offset in offsets:
        wallet.not_before(NOW + timedelta(microseconds=offset))
        transfers.append(_move(wallet, Kind.CHARGE, 1))
    for offset, transfer in zip(offsets, transfers[1:], strict=True):
        assert transfer.created_at >= NOW + timedelta(microseconds=offset)
    for earlier, later in pairwise(transfers):
        assert earlier.created_at <= later.created_at
        assert earlier.id < later.id


def test_every_kind_has_its_accounts() -> None:
    """Goal: the table of the design: from where to where the money goes."""
    assert {kind.value: (debit.value, credit.value) for kind, (debit, credit) in ACCOUNTS.items()} == {
        "charge": ("funding", "available"),
        "release": ("locked", "available"),
        "reserve": ("available", "held"),
        "payout": ("held", "bank"),
        "refund": ("held", "available"),
        "return": ("bank", "available"),
        "adjustment": ("funding", "available"),
        "reversal": ("available", "funding"),
        "send": ("available", "peer"),
        "receive": ("peer", "available"),
        "hold": ("available", "held"),
        "void": ("held", "available"),
        "capture": ("held", "peer"),
    }

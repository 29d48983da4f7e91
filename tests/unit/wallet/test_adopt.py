"""The bookings for a payout that only the bank knows."""

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from wallet.adopt import adopt
from wallet.ledger import Kind, Wallet
from wallet.withdrawal import Status, is_legal_history

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
REFERENCE = "5be1c0ff0199d3c08b2f7d1080005be1"


@given(available=st.integers(0, 200), held=st.integers(0, 50), amount=st.integers(1, 200))
def test_the_payout_leaves_and_what_is_lacking_comes_first(available: int, held: int, amount: int) -> None:
    """Goal: the wallet ends with what it had less the payout, or with nothing, and never below; the rest is put in."""
    wallet = Wallet("ann", "USD", available, 7, held, at=NOW)
    adoption = adopt(wallet, amount, REFERENCE, "operator:eve", "restored")
    assert (wallet.available, wallet.locked, wallet.held) == (max(available - amount, 0), 7, held)
    assert adoption.adjusted == max(amount - available, 0)
    kinds = [Kind.ADJUSTMENT] * bool(adoption.adjusted) + [Kind.RESERVE, Kind.PAYOUT]
    assert [transfer.kind for transfer in adoption.transfers] == kinds
    assert wallet.transactions == 1


def test_who_and_why_are_written_down() -> None:
    """Goal: the movements name the operator, the adjustment the reason, and the history is a legal path."""
    wallet = Wallet("ann", "USD", at=NOW)
    adoption = adopt(wallet, 5, REFERENCE, "operator:eve", "restored")
    assert {transfer.made_by for transfer in adoption.transfers} == {"operator:eve"}
    told = json.loads(adoption.transfers[0].metadata or "")
    assert told == {"reason": "restored", "adopted": REFERENCE}
    assert is_legal_history([Status(row.status) for row in adoption.history])
    assert [(row.seq, row.made_by) for row in adoption.history] == [(n, "operator:eve") for n in (1, 2, 3)]
    assert "restored" in adoption.history[0].reason
    reserve, payout = adoption.transfers[1:]
    assert adoption.id == reserve.id == reserve.reference == payout.reference

"""What a batch is expected to change, before it is decided."""

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.strategies import NOW, batches
from wallet.commands import LedgerCommand
from wallet.decide import decide, expected_changes
from wallet.errors import WalletError
from wallet.ids import uuid7_sequence
from wallet.ledger import Wallet


@given(batches, st.integers(0, 200))
def test_expectations_hold_exactly_if_all_is_accepted_and_new(batch: list[LedgerCommand], funds: int) -> None:
    """Goal: the changes differ from the expected ones if, and only if, a request is refused or repeated."""
    expected = expected_changes(batch)
    wallets = {change[:2]: Wallet(*change[:2], available=funds) for change in expected}
    decision = decide(batch, {}, wallets, NOW, uuid7_sequence(NOW, b"random"))
    all_is_new = not any(isinstance(one, WalletError) or one.replayed for one in decision.outcomes)
    as_expected = all(wallets[change[:2]].change() == change[2:] for change in expected)
    assert as_expected == all_is_new


@given(batches)
def test_expectations_come_in_the_order_of_locks(batch: list[LedgerCommand]) -> None:
    """Goal: each wallet is named once, in the order in which every process locks them."""
    ids = [change[:2] for change in expected_changes(batch)]
    assert ids == sorted({(request.user_id, request.currency) for request in batch})

"""The rows of an optimistic batch, compared with the decisions request by request."""

from datetime import timedelta

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.unit.wallet.strategies import NOW, Wallets, batches, decide_copy, wallets, with_own_keys
from wallet.batch_rows import RaisedInstants
from wallet.commands import Charge, LedgerCommand, Leg, MakeTransfer, Withdraw, wallets_of
from wallet.money import AMOUNT_MAX
from wallet.optimistic import OptimisticBatch, optimistic_batch
from wallet.receipts import Recorded

ID_START = "0190000000007000"


def would_be_taken(expected: OptimisticBatch, before: Wallets) -> bool:
    """Tell what the statement `write_optimistically` and the constraints of the tables would say."""
    for change in expected.changes:
        wallet = before[change[:2]]
        total = wallet.total + change.total_peak
        if wallet.available < change.needed or wallet.available + change.available < 0:
            return False
        if change.total_peak > 0 and total > AMOUNT_MAX:
            return False
    return expected.first_release_at is None or expected.first_release_at > NOW


# Those that are thrown away have been compared, too: they are no waste.
@settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(batches.map(with_own_keys), wallets)
def test_what_is_taken_is_what_would_be_decided(batch: list[LedgerCommand], before: Wallets) -> None:
    """Goal: a batch is accepted exactly if each request is accepted from the money available, with the same rows."""
    expected = optimistic_batch(batch)
    decided = decide_copy(batch, before)
    accepted = all(isinstance(outcome, Recorded) for outcome in decided.decision.outcomes)
    assert would_be_taken(expected, before) == (accepted and not decided.decision.releases)
    assume(would_be_taken(expected, before))
    rows = zip(expected.movements, decided.decision.transfers, strict=True)
    for movement, transfer in rows:
        assert movement[2:6] == (transfer.user_id, transfer.currency, transfer.kind, transfer.amount)
        assert movement.kind == "hold" or movement.release_at == transfer.release_at
        assert movement.made_by == transfer.made_by
        assert movement.peer_user_id == transfer.peer_user_id
        assert movement[18:] == decided.decision.keys.get(transfer.id, (None, None, None))
        change = expected.changes[movement.wallet - 1]
        assert change[:2] == transfer[1:3]
        wallet = before[change[:2]]
        assert wallet.available + movement.available_change == transfer.available_after
        assert wallet.locked + movement.locked_change == transfer.locked_after
        assert wallet.held + movement.held_change == transfer.held_after
    for change in expected.changes:
        assert change[2:6] == decided.wallets[change[:2]].change()
    ids = dict(zip([m.id_end for m in expected.movements], decided.decision.transfers, strict=True))
    references = [ids[m.of_end or m.id_end].id for m in expected.movements]
    assert references == [transfer.reference for transfer in decided.decision.transfers]
    legs = [(m.leg, m.user_id, m.amount, m.release_at) for m in expected.movements if m.kind == "receive"]
    assert legs == [(leg.leg, leg.to_user_id, leg.amount, leg.release_at) for leg in decided.decision.legs]
    reserves = [m for m in expected.movements if m.kind == "reserve"]
    assert [m.reference_end for m in reserves] == [w.reference_end for w in decided.decision.withdrawals]
    raised = RaisedInstants(
        [before[change[:2]].at for change in expected.changes], [ID_START] * len(expected.changes)
    )
    receipts = expected.receipts(ID_START, NOW, raised)
    for outcome, receipt in zip(decided.decision.outcomes, receipts, strict=True):
        assert isinstance(outcome, Recorded)
        assert type(receipt) is type(outcome.receipt)
        assert receipt[1:] == outcome.receipt[1:]


@given(batches)
def test_wallets_come_in_the_order_of_locks(batch: list[LedgerCommand]) -> None:
    """Goal: each wallet is named once, in the order in which every process locks them."""
    ids = [change[:2] for change in optimistic_batch(batch).changes]
    assert ids == sorted({id for request in batch for id in wallets_of(request)})


@given(batches, st.binary(min_size=6, max_size=6))
def test_identifiers_ascend(batch: list[LedgerCommand], entropy: bytes) -> None:
    """Goal: identifiers are in the order of arrival, and those of the rows are those of the answers."""
    expected = optimistic_batch(batch, entropy)
    ids = [receipt.id for receipt in expected.receipts(ID_START, NOW)]
    assert ids == sorted(set(ids))
    assert [id.hex for id in ids] == [ID_START + movement.id_end for movement in expected.first]
    ends = [movement.id_end for movement in expected.movements]
    assert ends == sorted(set(ends))
    assert all(id.version == 7 for id in ids)


@given(batches)
def test_each_wallet_has_its_instant(batch: list[LedgerCommand]) -> None:
    """Goal: where the clock has stepped back, each answer carries the instant and the identifier of its wallet."""
    expected = optimistic_batch(batch)
    instants = [NOW + timedelta(hours=number) for number, _ in enumerate(expected.changes)]
    id_starts = [f"{number:012x}7000" for number, _ in enumerate(expected.changes)]
    receipts = expected.receipts(ID_START, NOW, RaisedInstants(instants, id_starts))
    for request, receipt, movement in zip(batch, receipts, expected.first, strict=True):
        number = [change[:2] for change in expected.changes].index((request.user_id, request.currency))
        assert receipt.created_at == instants[number]
        assert receipt.id.hex == id_starts[number] + movement.id_end


def test_what_comes_later_pays_nothing_before_it() -> None:
    """Goal: a batch needs what its requests need in their order, not only what they come to."""
    charge, withdraw = (make("s", "k", "ann", "USD", 10) for make in (Charge, Withdraw))
    pay = MakeTransfer("s", "k", "ann", "USD", 10, (Leg("bob", 10),))
    pay_back = MakeTransfer("s", "k", "bob", "USD", 10, (Leg("ann", 10),))

    def needed(*batch: LedgerCommand) -> dict[str, int]:
        return {change.user_id: change.needed for change in optimistic_batch(batch).changes}

    assert needed(charge, withdraw) == {"ann": 0}
    assert needed(withdraw, charge) == {"ann": 10}
    assert needed(withdraw, withdraw, charge, charge) == {"ann": 20}
    assert needed(pay, pay_back) == {"ann": 10, "bob": 0}
    assert needed(pay_back, pay) == {"ann": 0, "bob": 10}

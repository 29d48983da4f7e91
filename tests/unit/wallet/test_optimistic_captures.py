"""The rows of an optimistic batch of captures, compared with the decisions command by command."""

from copy import deepcopy
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wallet.strategies import NOW, callers, release_times, small_amounts
from wallet.batch_rows import RaisedInstants
from wallet.commands import Leg
from wallet.decide_follow_ups import decide_follow_ups
from wallet.follow_up_commands import CaptureHold, FollowUp, VoidHold
from wallet.follow_ups import Facts, FollowUps, Hold
from wallet.ledger import Wallet, WalletId
from wallet.limits import UNLIMITED, Ceiling, Limits
from wallet.money import AMOUNT_MAX
from wallet.optimistic_captures import CaptureBatch, optimistic_captures
from wallet.receipts import HoldReceipt, Recorded

ID_START = "0190000000007000"
USERS = ("ann", "bob", "carl")
HOLDS = tuple(UUID(int=number) for number in range(1, 7))
LIMITS = (UNLIMITED, Limits(balance=Ceiling(120)), Limits(open_locks=1))

holds_of_a_batch = st.fixed_dictionaries(
    {
        id: st.builds(
            lambda id, user, amount, status, expires_at: Hold(
                id, user, "USD", amount, 0, status, expires_at, None, None, NOW
            ),
            st.just(id),
            st.sampled_from(USERS),
            small_amounts,
            st.sampled_from(("open", "open", "open", "open", "voided")),
            release_times,
        )
        for id in HOLDS
    }
)
legs = st.builds(Leg, st.sampled_from(USERS), st.integers(1, 25), release_times)
captures = st.builds(
    lambda id, legs, one, by, prefix: CaptureHold("shop", "", id, legs, one[0], one[1], by, prefix),
    st.sampled_from((*HOLDS, UUID(int=99))),
    st.lists(legs, max_size=3).map(tuple),
    st.tuples(st.sampled_from(USERS), release_times),
    callers,
    st.sampled_from((None, None, None, "a")),
)
batches = st.lists(captures, max_size=5).map(
    lambda batch: [
        CaptureHold("shop", f"own-{n}", c.hold_id, c.legs, c.to_user_id, c.release_at, c.by, c.user_prefix)
        for n, c in enumerate(batch)
    ]
)
totals = st.fixed_dictionaries({user: st.sampled_from((0, 40, AMOUNT_MAX - 400)) for user in USERS})


def wallets_of(holds: dict[UUID, Hold], available: dict[str, int]) -> dict[WalletId, Wallet]:
    """Return wallets that have what is held of them, and so much more."""
    held = {user: sum(h.amount for h in holds.values() if h.user_id == user) for user in USERS}
    at = NOW + timedelta(hours=1)
    return {(u, "USD"): Wallet(u, "USD", available[u], locked=0, held=held[u], at=at) for u in USERS}


def would_be_taken(batch: CaptureBatch | None, wallets: dict[WalletId, Wallet]) -> bool:
    """Tell what the statement `write_captures` and the constraints of the tables would say."""
    if batch is None or (batch.first_release_at is not None and batch.first_release_at <= NOW):
        return False
    return all(
        wallets[change[:2]].total + change.total_peak <= AMOUNT_MAX
        for change in batch.changes
        if change.total_peak > 0
    )


def check_same_rows(batch: CaptureBatch, decision: FollowUps, before: dict[WalletId, Wallet]) -> None:
    """Require that the batch writes what was decided."""
    ids = {row.id_end: made.id for row, made in zip(batch.movements, decision.transfers, strict=True)}
    for row, made in zip(batch.movements, decision.transfers, strict=True):
        assert row[2:6] == (made.user_id, made.currency, made.kind, made.amount)
        assert row.kind == "capture" or row.release_at == made.release_at
        assert (row.made_by, row.peer_user_id) == (made.made_by, made.peer_user_id)
        assert row[18:] == decision.keys.get(made.id, (None, None, None))
        reference = UUID(row.reference_end) if row.kind == "void" else ids[row.of_end or row.id_end]
        assert reference == made.reference
        wallet = before[row[2:4]]
        assert wallet.available + row.available_change == made.available_after
        assert wallet.locked + row.locked_change == made.locked_after
        assert wallet.held + row.held_change == made.held_after
    received = [(r.leg, r.user_id, r.amount, r.release_at) for r in batch.movements if r.kind == "receive"]
    assert received == [(leg.leg, leg.to_user_id, leg.amount, leg.release_at) for leg in decision.legs]
    ended = {UUID(row.reference_end): row for row in batch.movements if row.kind == "capture"}
    assert {id: row.amount for id, row in ended.items()} == {
        id: hold.captured for id, (hold, _) in decision.ended_holds.items()
    }
    assert {id for id, row in ended.items() if row.release_at} == decision.reduced_locks.keys()


@given(batches, holds_of_a_batch, totals, st.sampled_from(LIMITS))
def test_what_is_taken_is_what_would_be_decided(
    commands: list[FollowUp], holds: dict[UUID, Hold], available: dict[str, int], limits: Limits
) -> None:
    """Goal: what the statement would accept, the decision accepts, with the same rows; and the other way about."""
    before = wallets_of(holds, available)
    batch = optimistic_captures(commands, holds, limits=limits)
    after = deepcopy(before)
    decision = decide_follow_ups(commands, {}, Facts(holds=deepcopy(holds)), after, NOW, limits)
    accepted = all(isinstance(outcome, Recorded) for outcome in decision.outcomes)
    counted = limits.open_locks and any(row.release_at for row in decision.legs)
    assert would_be_taken(batch, before) == (accepted and not counted)
    if batch is None or not would_be_taken(batch, before):
        return
    check_same_rows(batch, decision, before)
    for change in batch.changes:
        assert change[2:6] == after[change[:2]].change()
    receipts = batch.receipts(ID_START, RaisedInstants([NOW] * 3, [ID_START] * 3))
    assert receipts == batch.receipts(ID_START)
    ids = dict(zip([row.id_end for row in batch.movements], decision.transfers, strict=True))
    for receipt, outcome in zip(receipts, decision.outcomes, strict=True):
        assert isinstance(outcome, Recorded)
        assert isinstance(outcome.receipt, HoldReceipt)
        assert receipt.transfer_id is not None
        assert ids[receipt.transfer_id.hex[16:]].id == outcome.receipt.transfer_id
        assert receipt._replace(transfer_id=None) == outcome.receipt._replace(transfer_id=None)


@given(batches, holds_of_a_batch)
def test_wallets_come_in_the_order_of_locks(commands: list[FollowUp], holds: dict[UUID, Hold]) -> None:
    """Goal: each wallet is named once, in the order in which every process locks them."""
    batch = optimistic_captures(commands, holds)
    if batch is not None:
        ids = [change[:2] for change in batch.changes]
        assert ids == sorted({row[2:4] for row in batch.movements})


@pytest.mark.parametrize("other", [VoidHold(HOLDS[0]), None])
def test_only_captures_of_different_holds(other: FollowUp | None) -> None:
    """Goal: whatever is no capture, and a second capture of one hold, is decided under locks."""
    hold = Hold(HOLDS[0], "ann", "USD", 10, 0, "open", None, None, None, NOW)
    capture = CaptureHold("shop", "k", hold.id, to_user_id="bob")
    assert optimistic_captures([capture], {hold.id: hold}) is not None
    second = other or CaptureHold("shop", "l", hold.id, to_user_id="bob")
    assert optimistic_captures([capture, second], {hold.id: hold}) is None

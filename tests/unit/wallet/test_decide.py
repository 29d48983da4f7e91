"""Properties of `wallet.decide`: what must hold for any batch on any wallets."""

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests.unit.wallet.strategies import (
    NOW,
    Decided,
    Wallets,
    asked,
    batches,
    decide_copy,
    fresh,
    wallets,
    with_own_keys,
)
from wallet.commands import Charge, LedgerCommand, MakeTransfer, PlaceHold, Withdraw
from wallet.decision import ReleasesNeeded
from wallet.errors import (
    BalanceLimitExceeded,
    IdempotencyKeyReused,
    InsufficientFunds,
    Unavailable,
    ValidationFailed,
)
from wallet.ledger import ACCOUNTS, Account, Kind, MaturedLock, Wallet
from wallet.money import AMOUNT_MAX
from wallet.receipts import KeyRecord, Recorded

WalletState = tuple[int, int, int]


def _withdrawable(wallet: Wallet) -> int:
    return wallet.available + sum(lock.amount for lock in wallet.matured)


def _split(wallet: Wallet) -> WalletState:
    """The split as a client sees it: what has matured counts, whether or not its release is written."""
    held = wallet.held - sum(lock.amount for lock in wallet.matured if lock.account == "held")
    return _withdrawable(wallet), wallet.total - _withdrawable(wallet) - held, held


def _answer(outcome: object) -> tuple[object, ...]:
    """What a client can tell of an outcome, identifiers and times aside."""
    if isinstance(outcome, Recorded):
        return ("ok", outcome.replayed, type(outcome.receipt).__name__, *outcome.receipt[1:4])
    assert isinstance(outcome, Exception)
    return (type(outcome).__name__, str(outcome))


class Model:
    """The same rules in their simplest form: no batches, no locks, no transfers."""

    def __init__(self, before: Wallets) -> None:
        self.splits = {id: list(_split(wallet)) for id, wallet in before.items()}
        self.requests: dict[tuple[str, str], tuple[object, ...]] = {}

    def answer(self, request: LedgerCommand) -> str:
        """Take a request and name the answer."""
        key = (request.space, request.key)
        if key in self.requests:
            return "replayed" if self.requests[key] == asked(request) else "IdempotencyKeyReused"
        split = self.splits[request.user_id, request.currency]
        if isinstance(request, Charge):
            if request.release_at is not None and request.release_at <= NOW:
                return "ValidationFailed"
            if sum(split) + request.amount > AMOUNT_MAX:
                return "BalanceLimitExceeded"
            split[0 if request.release_at is None else 1] += request.amount
        else:
            if refusal := self._refusal(request):
                return refusal
            split[0] -= request.amount
            if isinstance(request, MakeTransfer):
                for leg in request.legs:
                    payee = self.splits[leg.to_user_id, request.currency]
                    payee[0 if leg.release_at is None else 1] += leg.amount
            else:
                split[2] += request.amount
        self.requests[key] = asked(request)
        return "ok"

    def _refusal(self, request: Withdraw | MakeTransfer | PlaceHold) -> str | None:
        if isinstance(request, PlaceHold) and request.expires_at is not None and request.expires_at <= NOW:
            return "ValidationFailed"
        if isinstance(request, MakeTransfer):
            if any(leg.release_at is not None and leg.release_at <= NOW for leg in request.legs):
                return "ValidationFailed"
            [payee] = {leg.to_user_id for leg in request.legs}
            if sum(self.splits[payee, request.currency]) + request.amount > AMOUNT_MAX:
                return "BalanceLimitExceeded"
        if self.splits[request.user_id, request.currency][0] < request.amount:
            return "InsufficientFunds"
        return None


def _name(outcome: object) -> str:
    if isinstance(outcome, Recorded):
        return "replayed" if outcome.replayed else "ok"
    return type(outcome).__name__


@given(batches, wallets)
def test_answers_are_those_of_the_model(batch: list[LedgerCommand], before: Wallets) -> None:
    """Goal: each answer and each resulting split is what a model of a few lines says, in arrival order."""
    model = Model(before)
    expected = [model.answer(request) for request in batch]
    decided = decide_copy(batch, before)
    for name in expected:
        event(name)
    assert [_name(outcome) for outcome in decided.decision.outcomes] == expected
    assert {id: list(_split(wallet)) for id, wallet in decided.wallets.items()} == model.splits


@given(batches, wallets)
def test_balances_are_the_sums_of_the_transfers(batch: list[LedgerCommand], before: Wallets) -> None:
    """Goal: money is conserved: each balance changes by exactly what the transfers credit and debit."""
    decided = decide_copy(batch, before)
    sums: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    splits = {id: Counter(available=w.available, locked=w.locked, held=w.held) for id, w in before.items()}
    for transfer in decided.decision.transfers:
        id = (transfer.user_id, transfer.currency)
        assert transfer.amount > 0
        sums[id][transfer.debit_account] -= transfer.amount
        sums[id][transfer.credit_account] += transfer.amount
        splits[id][transfer.debit_account] -= transfer.amount
        splits[id][transfer.credit_account] += transfer.amount
        after = (transfer.available_after, transfer.locked_after, transfer.held_after)
        assert after == tuple(splits[id][account] for account in ("available", "locked", "held"))
    for id, wallet in before.items():
        changed = decided.wallets[id]
        for account in ("available", "locked", "held"):
            assert getattr(changed, account) - getattr(wallet, account) == sums[id][account]
        assert sum(sums[id].values()) == 0
        came = sum(
            -transfer.amount if transfer.kind == Kind.SEND else transfer.amount
            for transfer in decided.decision.transfers
            if transfer.kind in (Kind.CHARGE, Kind.SEND, Kind.RECEIVE)
            and (transfer.user_id, transfer.currency) == id
        )
        assert changed.total - wallet.total == came


@given(batches, wallets)
def test_nothing_goes_below_zero_or_above_the_limit(batch: list[LedgerCommand], before: Wallets) -> None:
    """Goal: no batch makes a balance negative or a total greater than every JSON reader can read."""
    for wallet in decide_copy(batch, before).wallets.values():
        assert min(wallet.available, wallet.locked, wallet.held) >= 0
        assert wallet.total <= AMOUNT_MAX


@given(batches, wallets)
def test_transfers_are_well_formed(batch: list[LedgerCommand], before: Wallets) -> None:
    """Goal: identifiers ascend, accounts are those of the kind, and each row can be traced to its cause."""
    decision = decide_copy(batch, before).decision
    assert len({transfer.id for transfer in decision.transfers}) == len(decision.transfers)
    for id in before:
        ids = [t.id for t in decision.transfers if (t.user_id, t.currency) == id]
        assert ids == sorted(ids)
    for transfer in decision.transfers:
        debit, credit = ACCOUNTS[Kind(transfer.kind)]
        if transfer.release_at is not None:
            credit = Account.LOCKED
            assert transfer.id in {lock.source_id for lock in decision.locks}
        assert (transfer.debit_account, transfer.credit_account) == (debit, credit)
        if transfer.kind not in (Kind.RELEASE, Kind.VOID, Kind.RECEIVE):
            assert transfer.reference == transfer.id
    reserves = [transfer.id for transfer in decision.transfers if transfer.kind == Kind.RESERVE]
    assert reserves == [new.receipt.id for new in decision.withdrawals]
    assert [t for t in decision.transfers if t.kind in (Kind.RELEASE, Kind.VOID)] == decision.releases
    peer: Counter[UUID] = Counter()
    for transfer in decision.transfers:
        if Account.PEER in (transfer.debit_account, transfer.credit_account):
            sign = 1 if transfer.credit_account == Account.PEER else -1
            peer[transfer.reference] += sign * transfer.amount
    assert not any(peer.values())


@given(batches, wallets)
def test_rows_carry_the_instant_of_their_wallet(batch: list[LedgerCommand], before: Wallets) -> None:
    """Goal: rows, answers and identifiers of a wallet carry its own instant, however far the clock is behind it."""
    decided = decide_copy(batch, before)
    for transfer in decided.decision.transfers:
        assert transfer.created_at == before[transfer.user_id, transfer.currency].at
        milliseconds = (transfer.created_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
        assert transfer.id.int >> 80 == milliseconds
    written = {transfer.id: transfer.created_at for transfer in decided.decision.transfers}
    for outcome in decided.decision.outcomes:
        if isinstance(outcome, Recorded):
            assert outcome.receipt.created_at == written[outcome.receipt.id]


@given(batches, wallets)
def test_the_instant_of_a_wallet_decides_nothing(batch: list[LedgerCommand], before: Wallets) -> None:
    """Goal: the clock, not the written instant, decides on maturity and refusals."""
    decided = decide_copy(batch, before)
    in_time = {id: fresh(wallet) for id, wallet in before.items()}
    for wallet in in_time.values():
        wallet.at = NOW
    other = decide_copy(batch, in_time)
    assert [_answer(o) for o in decided.decision.outcomes] == [_answer(o) for o in other.decision.outcomes]
    assert {id: _split(w) for id, w in decided.wallets.items()} == {
        id: _split(w) for id, w in other.wallets.items()
    }


@given(batches, wallets)
def test_rows_say_who_asked(batch: list[LedgerCommand], before: Wallets) -> None:
    """Goal: a charge, a reserve and a withdrawal carry the name of the key they were asked for by; a release none."""
    decided = decide_copy(batch, before)
    asked = {
        outcome.receipt.id: request.by
        for request, outcome in zip(batch, decided.decision.outcomes, strict=True)
        if isinstance(outcome, Recorded) and not outcome.replayed
    }
    legs = {leg.receive_id: asked[leg.transfer_id] for leg in decided.decision.legs}
    assert {t.id: t.made_by for t in decided.decision.transfers} == asked | legs | {
        t.id: None for t in decided.decision.releases
    }
    for new in decided.decision.withdrawals:
        assert new.made_by == asked[new.receipt.id]


@given(batches, wallets)
def test_a_matured_lock_is_released_at_most_once(batch: list[LedgerCommand], before: Wallets) -> None:
    """Goal: releases are of locks that had matured, with their amounts, none twice."""
    decided = decide_copy(batch, before)
    matured = {lock.source_id: lock.amount for wallet in before.values() for lock in wallet.matured}
    released = [transfer.reference for transfer in decided.decision.releases]
    assert len(released) == len(set(released))
    assert all(matured[transfer.reference] == transfer.amount for transfer in decided.decision.releases)
    left = {lock.source_id for wallet in decided.wallets.values() for lock in wallet.matured}
    assert left | set(released) == matured.keys()
    assert not left & set(released)


@given(batches, wallets)
def test_a_refused_request_changes_nothing_for_the_others(
    batch: list[LedgerCommand], before: Wallets
) -> None:
    """Goal: without the refused requests all others get the same answers and leave the same balances."""
    decided = decide_copy(batch, before)
    accepted = [
        (request, outcome)
        for request, outcome in zip(batch, decided.decision.outcomes, strict=True)
        if isinstance(outcome, Recorded)
    ]
    alone = decide_copy([request for request, _ in accepted], before)
    assert [_answer(outcome) for outcome in alone.decision.outcomes] == [_answer(o) for _, o in accepted]
    assert {id: _split(w) for id, w in alone.wallets.items()} == {
        id: _split(w) for id, w in decided.wallets.items()
    }


@given(batches, wallets)
def test_a_key_stands_for_one_movement(batch: list[LedgerCommand], before: Wallets) -> None:
    """Goal: under one key at most one movement happens; the same request gets its receipt, another not."""
    decided = decide_copy(batch, before)
    receipts: dict[tuple[str, str], Recorded] = {}
    first: dict[tuple[str, str], LedgerCommand] = {}
    for request, outcome in zip(batch, decided.decision.outcomes, strict=True):
        key = (request.space, request.key)
        if key not in receipts:
            assert not isinstance(outcome, IdempotencyKeyReused)
            if isinstance(outcome, Recorded):
                assert not outcome.replayed
                receipts[key], first[key] = outcome, request
        elif asked(request) == asked(first[key]):
            assert outcome == Recorded(receipts[key].receipt, replayed=True)
        else:
            assert isinstance(outcome, IdempotencyKeyReused)
    keys = [(key.space, key.key) for key in decided.decision.keys.values()]
    assert len(keys) == len(set(keys))
    assert set(keys) == receipts.keys()
    movements = [
        t for t in decided.decision.transfers if t.kind not in (Kind.RELEASE, Kind.VOID, Kind.RECEIVE)
    ]
    assert [t.id for t in movements] == list(decided.decision.keys)


@given(batches, batches, wallets)
def test_sending_a_batch_again_moves_nothing_twice(
    batch: list[LedgerCommand], others: list[LedgerCommand], before: Wallets
) -> None:
    """Goal: what was accepted is answered with the same receipt for ever after, whatever happened since."""
    first = decide_copy(batch, before)
    between = decide_copy(others, first.wallets, first.known)
    accepted = [
        (request, outcome.receipt)
        for request, outcome in zip(batch, first.decision.outcomes, strict=True)
        if isinstance(outcome, Recorded)
    ]
    again = decide_copy([request for request, _ in accepted], between.wallets, between.known)
    assert again.decision.outcomes == [Recorded(receipt, replayed=True) for _, receipt in accepted]
    assert not again.decision.transfers
    assert not again.decision.keys
    assert not again.decision.withdrawals


@given(batches, wallets)
def test_the_key_of_a_refused_request_stays_free(batch: list[LedgerCommand], before: Wallets) -> None:
    """Goal: a refused request leaves no trace: its key can be used for another request afterwards."""
    decided = decide_copy(batch, before)
    for request, outcome in zip(batch, decided.decision.outcomes, strict=True):
        if isinstance(outcome, Recorded) or (request.space, request.key) in decided.known:
            continue
        small = Charge(request.space, request.key, "bob", "USD", 1)
        if decided.wallets["bob", "USD"].total == AMOUNT_MAX:
            continue
        retried = decide_copy([small], decided.wallets, decided.known)
        assert _name(retried.decision.outcomes[0]) == "ok"


@given(st.data(), batches, wallets)
def test_batching_changes_nothing(data: st.DataObject, batch: list[LedgerCommand], before: Wallets) -> None:
    """Goal: one batch, one by one, or cut anywhere: the same answers and the same balances."""
    whole = decide_copy(batch, before)
    cuts = data.draw(st.sets(st.integers(0, len(batch))))
    state, answers = Decided(whole.decision, before, {}), []
    bounds = [0, *sorted(cuts), len(batch)]
    for start, end in pairwise(bounds):
        state = decide_copy(batch[start:end], state.wallets, state.known)
        answers += state.decision.outcomes
    assert [_answer(outcome) for outcome in answers] == [_answer(o) for o in whole.decision.outcomes]
    assert {id: _split(w) for id, w in state.wallets.items()} == {
        id: _split(w) for id, w in whole.wallets.items()
    }
    assert state.known.keys() == whole.known.keys()


@given(st.data(), batches, wallets)
def test_charges_may_come_in_any_order(
    data: st.DataObject, batch: list[LedgerCommand], before: Wallets
) -> None:
    """Goal: charges don't depend on each other's order, unless they compete for a key or for the limit."""
    charges = [
        request for request in with_own_keys(batch) if isinstance(request, Charge) and request.amount < 1000
    ]
    shuffled = data.draw(st.permutations(charges))
    one, other = decide_copy(list(charges), before), decide_copy(list(shuffled), before)
    assert {id: _split(w) for id, w in one.wallets.items()} == {
        id: _split(w) for id, w in other.wallets.items()
    }


@given(batches, wallets)
def test_the_changes_to_be_written_are_the_changes(batch: list[LedgerCommand], before: Wallets) -> None:
    """Goal: `Wallet.change` tells exactly the difference that the database has to add."""
    decided = decide_copy(batch, before)
    for id, wallet in decided.wallets.items():
        movements = sum(
            transfer.kind in (Kind.CHARGE, Kind.RESERVE) and (transfer.user_id, transfer.currency) == id
            for transfer in decided.decision.transfers
        )
        assert wallet.change() == (
            wallet.available - before[id].available,
            wallet.locked - before[id].locked,
            wallet.held - before[id].held,
            movements,
        )


def _wallet(available: int = 0, locked: int = 0, held: int = 0) -> dict[tuple[str, str], Wallet]:
    return {("ann", "USD"): Wallet("ann", "USD", available, locked, held, at=NOW)}


def _only(decided: Decided) -> object:
    [outcome] = decided.decision.outcomes
    return outcome


@pytest.mark.parametrize(("total", "amount", "fits"), [(0, AMOUNT_MAX, True), (1, AMOUNT_MAX, False)])
@pytest.mark.parametrize("account", ["available", "locked", "held"])
def test_the_greatest_total(account: str, total: int, amount: int, fits: bool) -> None:
    """Goal: a wallet may hold exactly AMOUNT_MAX, wherever in the split, and not one minor unit more."""
    outcome = _only(decide_copy([Charge("c", "k", "ann", "USD", amount)], _wallet(**{account: total})))
    assert isinstance(outcome, Recorded if fits else BalanceLimitExceeded)


def test_a_release_at_of_this_very_instant_is_refused() -> None:
    """Goal: `release_at` lies in the future by the database's clock, or the refusal names it."""
    outcome = _only(decide_copy([Charge("c", "k", "ann", "USD", 1, release_at=NOW)], _wallet()))
    assert isinstance(outcome, ValidationFailed)
    assert [field for field, _ in outcome.errors] == ["release_at"]


def test_money_charged_in_a_batch_can_be_withdrawn_in_it() -> None:
    """Goal: arrival order counts within a batch: after the charge the withdrawal passes, before it fails."""
    charge, withdraw = Charge("c", "k1", "ann", "USD", 5), Withdraw("c", "k2", "ann", "USD", 5)
    assert [_name(o) for o in decide_copy([charge, withdraw], _wallet()).decision.outcomes] == ["ok", "ok"]
    refused = decide_copy([withdraw, charge], _wallet()).decision.outcomes
    assert [_name(o) for o in refused] == ["InsufficientFunds", "ok"]


def test_a_refusal_tells_what_can_be_withdrawn() -> None:
    """Goal: the answer to an overdraft names the withdrawable amount, matured locks included."""
    before = _wallet(available=3, locked=9)
    before["ann", "USD"].matured = [MaturedLock(UUID(int=1), NOW, 4)]
    outcome = _only(decide_copy([Withdraw("c", "k", "ann", "USD", 8)], before))
    assert isinstance(outcome, InsufficientFunds)
    assert (outcome.withdrawable, outcome.amount) == (7, 8)


@pytest.mark.parametrize(("amount", "starved"), [(5, False), (6, True)])
def test_more_matured_locks_than_listed(amount: int, starved: bool) -> None:
    """Goal: a refusal is not final while locks not listed might pay; an acceptance needs no more."""
    before = _wallet(available=1, locked=20)
    before["ann", "USD"].matured = [MaturedLock(UUID(int=1), NOW - timedelta(1), 4)]
    before["ann", "USD"].matured_complete = False
    decision = decide_copy([Withdraw("c", "k", "ann", "USD", amount)], before).decision
    assert (decision.outcomes[0] == ReleasesNeeded(("ann", "USD"), amount)) is starved
    assert bool(decision.transfers) is not starved


def test_a_known_key_needs_no_wallet() -> None:
    """Goal: a replay is answered from its key alone, though the wallet it was for may not be locked."""
    request = Charge("c", "k", "ann", "USD", 5)
    receipt = decide_copy([request], _wallet()).decision.outcomes[0].receipt  # type: ignore[union-attr]
    known = {("c", "k"): KeyRecord(request.fingerprint(), receipt)}
    assert _only(decide_copy([request], {}, known)) == Recorded(receipt, replayed=True)


def test_a_key_of_a_later_version() -> None:
    """Goal: if the fingerprints can't be compared, the client may try again and need not give up."""
    request = Charge("c", "k", "ann", "USD", 5)
    receipt = decide_copy([request], _wallet()).decision.outcomes[0].receipt  # type: ignore[union-attr]
    known = {("c", "k"): KeyRecord(b"\x03" + bytes(16), receipt)}
    assert isinstance(_only(decide_copy([request], {}, known)), Unavailable)

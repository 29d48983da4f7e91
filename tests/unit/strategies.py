"""What property tests of the domain draw from: few users and keys, so that requests meet each other."""

from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from hypothesis import strategies as st

from wallet.commands import Charge, LedgerCommand, Withdraw
from wallet.decide import Decision, KeyId, KeyRecord, decide
from wallet.ids import uuid7_sequence
from wallet.ledger import MaturedLock, Wallet, WalletId
from wallet.money import AMOUNT_MAX

NOW = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)

WALLET_IDS: tuple[WalletId, ...] = (("ann", "USD"), ("ann", "EUR"), ("bob", "USD"))

wallet_ids = st.sampled_from(WALLET_IDS)
key_ids = st.tuples(st.sampled_from(("shop", "app")), st.sampled_from(("k1", "k2", "k3", "k4")))
small_amounts = st.integers(1, 60)
amounts = st.one_of(small_amounts, small_amounts, st.integers(AMOUNT_MAX - 60, AMOUNT_MAX))
json_texts = st.sampled_from((None, "{}", '{"order":1}', '"order"', "null"))
release_times = st.one_of(
    st.none(),
    st.none(),
    st.sampled_from((NOW - timedelta(days=1), NOW, NOW + timedelta(microseconds=1), NOW + timedelta(days=1))),
)

charges = st.builds(
    lambda key_id, wallet_id, amount, release_at, metadata: Charge(
        *key_id, *wallet_id, amount, release_at, metadata
    ),
    key_ids,
    wallet_ids,
    amounts,
    release_times,
    json_texts,
)
withdraws = st.builds(
    lambda key_id, wallet_id, amount, destination, metadata: Withdraw(
        *key_id, *wallet_id, amount, destination, metadata
    ),
    key_ids,
    wallet_ids,
    amounts,
    json_texts,
    json_texts,
)
commands = st.one_of(charges, withdraws)
batches = st.lists(commands, max_size=16)


def with_own_keys(batch: list[LedgerCommand]) -> list[LedgerCommand]:
    """Return the same requests, no two under one key."""
    return [
        Charge(one.space, f"own-{n}", one.user_id, one.currency, one.amount, one.release_at, one.metadata)
        if isinstance(one, Charge)
        else Withdraw(
            one.space, f"own-{n}", one.user_id, one.currency, one.amount, one.destination, one.metadata
        )
        for n, one in enumerate(batch)
    ]


@st.composite
def _wallets(draw: st.DrawFn, wallet_id: WalletId) -> Wallet:
    matured = [
        MaturedLock(UUID(int=WALLET_IDS.index(wallet_id) * 1000 + n), NOW - timedelta(seconds=n), amount)
        for n, amount in enumerate(draw(st.lists(small_amounts, max_size=4)))
    ]
    return Wallet(
        *wallet_id,
        available=draw(st.integers(0, 100)),
        locked=sum(lock.amount for lock in matured) + draw(st.sampled_from((0, 0, 7))),
        held=draw(st.sampled_from((0, 0, 5))),
        matured=matured,
    )


Wallets = dict[WalletId, Wallet]

wallets: st.SearchStrategy[Wallets] = st.fixed_dictionaries({one: _wallets(one) for one in WALLET_IDS})


class Decided(NamedTuple):
    """A decision, and the wallets and known keys as they are after it."""

    decision: Decision
    wallets: Wallets
    known: dict[KeyId, KeyRecord]


def decide_copy(
    batch: list[LedgerCommand],
    before: Wallets,
    known: dict[KeyId, KeyRecord] | None = None,
    ids: Iterator[UUID] | None = None,
) -> Decided:
    """Decide a batch on copies, so that the wallets given stay as they are."""
    after = deepcopy(before)
    known = dict(known or {})
    decision = decide(batch, known, after, NOW, ids or uuid7_sequence(NOW))
    receipts = {
        outcome.receipt.id: outcome.receipt for outcome in decision.outcomes if isinstance(outcome, tuple)
    }
    for movement_id, key in decision.keys.items():
        known[key.space, key.key] = KeyRecord(key.fingerprint, receipts[movement_id])
    return Decided(decision, after, known)

"""What property tests of the domain draw from: few users and keys, so that requests meet each other."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import msgspec
from hypothesis import strategies as st

from wallet.commands import Charge, LedgerCommand, Leg, MakeTransfer, PlaceHold, Withdraw
from wallet.decide import decide
from wallet.decision import Decision
from wallet.ledger import MaturedLock, Wallet, WalletId
from wallet.limits import UNLIMITED, Limits
from wallet.money import AMOUNT_MAX
from wallet.receipts import KeyId, KeyRecord, Recorded

NOW = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)

WALLET_IDS: tuple[WalletId, ...] = (("ann", "USD"), ("ann", "EUR"), ("bob", "USD"))

wallet_ids = st.sampled_from(WALLET_IDS)
instants = st.sampled_from((NOW, NOW, NOW + timedelta(microseconds=1), NOW + timedelta(hours=1)))
"""Of what a wallet writes next: later than the clock says where that has stepped back."""
callers = st.sampled_from((None, "shop key", "app key"))
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
    lambda key_id, wallet_id, *rest: Charge(*key_id, *wallet_id, *rest),
    key_ids,
    wallet_ids,
    amounts,
    release_times,
    json_texts,
    callers,
)
withdraws = st.builds(
    lambda key_id, wallet_id, *rest: Withdraw(*key_id, *wallet_id, *rest),
    key_ids,
    wallet_ids,
    amounts,
    json_texts,
    json_texts,
    callers,
)
legs = st.builds(Leg, st.sampled_from(("ann", "bob")), small_amounts, release_times)


def _transfer(
    key_id: tuple[str, str],
    wallet_id: WalletId,
    given: list[Leg],
    metadata: str | None,
    by: str | None,
) -> MakeTransfer:
    """Return a transfer whose payees have wallets and are others than the payer."""
    user_id, currency = wallet_id[0], "USD"
    own = tuple(Leg("bob" if user_id == "ann" else "ann", leg.amount, leg.release_at) for leg in given)
    return MakeTransfer(*key_id, user_id, currency, sum(leg.amount for leg in own), own, metadata, by)


transfers = st.builds(
    _transfer, key_ids, wallet_ids, st.lists(legs, min_size=1, max_size=3), json_texts, callers
)
holds = st.builds(
    lambda key_id, wallet_id, *rest: PlaceHold(*key_id, *wallet_id, *rest),
    key_ids,
    wallet_ids,
    amounts,
    release_times,
    json_texts,
    callers,
)
commands = st.one_of(charges, withdraws, transfers, holds)
batches = st.lists(commands, max_size=16)


def asked(request: LedgerCommand) -> tuple[object, ...]:
    """Return what a request asks for, as a client means it: by whom, and how nothing is spelled, is no part of it."""

    def meant(text: str | None) -> str | None:
        return None if text in ("{}", "null") else text

    about = (type(request), request.user_id, request.currency, request.amount, meant(request.metadata))
    if isinstance(request, Charge):
        return (*about, request.release_at)
    if isinstance(request, MakeTransfer):
        return (*about, request.legs)
    if isinstance(request, PlaceHold):
        return (*about, request.expires_at)
    return (*about, meant(request.destination))


def with_own_keys(batch: list[LedgerCommand]) -> list[LedgerCommand]:
    """Return the same requests, no two under one key."""
    return [msgspec.structs.replace(one, key=f"own-{n}") for n, one in enumerate(batch)]


@st.composite
def _wallets(draw: st.DrawFn, wallet_id: WalletId) -> Wallet:
    matured = [
        MaturedLock(
            UUID(int=WALLET_IDS.index(wallet_id) * 1000 + n), NOW - timedelta(seconds=n), amount, account
        )
        for n, (amount, account) in enumerate(
            draw(st.lists(st.tuples(small_amounts, st.sampled_from(("locked", "held"))), max_size=4))
        )
    ]
    return Wallet(
        *wallet_id,
        available=draw(st.integers(0, 100)),
        locked=_sum(matured, "locked") + draw(st.sampled_from((0, 0, 7))),
        held=_sum(matured, "held") + draw(st.sampled_from((0, 0, 5))),
        matured=matured,
        at=draw(instants),
    )


def _sum(matured: list[MaturedLock], account: str) -> int:
    return sum(lock.amount for lock in matured if lock.account == account)


def fresh(wallet: Wallet) -> Wallet:
    """Return the wallet as the next batch finds it: what it writes comes after all that was written."""
    used = any(wallet.change())
    return Wallet(
        wallet.user_id,
        wallet.currency,
        wallet.available,
        wallet.locked,
        wallet.held,
        list(wallet.matured),
        wallet.matured_complete,
        at=wallet.at + timedelta(microseconds=1) if used else wallet.at,
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
    limits: Limits = UNLIMITED,
) -> Decided:
    """Decide a batch on copies, so that the given wallets stay unchanged."""
    after = {id: fresh(wallet) for id, wallet in before.items()}
    known = dict(known or {})
    decision = decide(batch, known, after, NOW, limits)
    receipts = {
        outcome.receipt.id: outcome.receipt for outcome in decision.outcomes if isinstance(outcome, Recorded)
    }
    for movement_id, key in decision.keys.items():
        known[key.space, key.key] = KeyRecord(key.fingerprint, receipts[movement_id])
    return Decided(decision, after, known)

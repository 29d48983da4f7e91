"""The decision about a batch of charges, withdrawals, transfers and holds: pure, in arrival order, each by itself.

`decide` takes the database's facts (wallets under lock, idempotency keys already used, the database's clock) and
returns the response to each request and the rows to be written. It reads no clock and no connection of its own, so
property tests can run it thousands of times. It decides by the clock; the rows carry the wallet's own instant, which
is later than the clock's if the clock has stepped back.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from wallet.bookings import check_payees, lock_of, make_available, receive, require_future, require_room
from wallet.commands import Charge, LedgerCommand, MakeTransfer, PlaceHold, Withdraw, only_payee
from wallet.decision import Decision, NewHold, NewKey, NewWithdrawal, ReleasesNeeded
from wallet.errors import OpenHoldsLimitExceeded, WalletError
from wallet.ledger import Kind, Wallet, WalletId
from wallet.limits import UNLIMITED, Limits
from wallet.receipts import (
    ChargeReceipt,
    HoldReceipt,
    KeyId,
    KeyRecord,
    Receipt,
    Recorded,
    TransferReceipt,
    WithdrawReceipt,
    repeat,
)
from wallet.reference import reference_end


def decide(
    requests: Sequence[LedgerCommand],
    known: Mapping[KeyId, KeyRecord],
    wallets: Mapping[WalletId, Wallet],
    now: datetime,
    limits: Limits = UNLIMITED,
) -> Decision:
    """Decide each request in arrival order; a refused request does not affect the others.

    `wallets` holds every wallet that a request names, under lock, and is updated to the resulting balances. A key
    used earlier in the same batch counts as used; the key of a refused request stays free. A request that needs
    releases changes nothing either: the others are decided as if it came later.
    """
    decision = Decision()
    used = dict(known)
    for request in requests:
        key_id = (request.space, request.key)
        earlier = used.get(key_id)
        if earlier is not None:
            decision.outcomes.append(repeat(earlier, request))
            continue
        wallet = wallets[request.user_id, request.currency]
        try:
            receipt: Receipt | ReleasesNeeded
            if isinstance(request, Charge):
                receipt = _charge(request, wallet, now, decision, limits)
            elif isinstance(request, Withdraw):
                receipt = _withdraw(request, wallet, now, decision)
            elif isinstance(request, MakeTransfer):
                receipt = _transfer(request, wallets, now, decision, limits)
            else:
                receipt = _hold(request, wallet, now, decision, limits)
        except WalletError as refusal:
            decision.outcomes.append(refusal)
            continue
        if isinstance(receipt, ReleasesNeeded):
            decision.outcomes.append(receipt)
            continue
        fingerprint = request.fingerprint()
        used[key_id] = KeyRecord(fingerprint, receipt)
        decision.keys[receipt.id] = NewKey(request.space, request.key, fingerprint)
        decision.outcomes.append(Recorded(receipt, replayed=False))
    return decision


def _charge(
    request: Charge, wallet: Wallet, now: datetime, decision: Decision, limits: Limits
) -> ChargeReceipt:
    require_future("release_at", request.release_at, now)
    require_room(wallet, request.amount, request.release_at is not None, limits, "the wallet's")
    transfer = wallet.move(
        Kind.CHARGE,
        request.amount,
        release_at=request.release_at,
        metadata=request.metadata,
        made_by=request.by,
    )
    decision.transfers.append(transfer)
    if request.release_at is not None:
        decision.locks.append(lock_of(transfer, request.release_at))
    return ChargeReceipt(
        transfer.id,
        request.user_id,
        request.currency,
        request.amount,
        request.release_at,
        request.metadata,
        transfer.created_at,
    )


def _withdraw(
    request: Withdraw, wallet: Wallet, now: datetime, decision: Decision
) -> WithdrawReceipt | ReleasesNeeded:
    if needed := make_available(wallet, request.amount, now, decision):
        return needed
    transfer = wallet.move(Kind.RESERVE, request.amount, made_by=request.by)
    decision.transfers.append(transfer)
    receipt = WithdrawReceipt(
        transfer.id,
        request.user_id,
        request.currency,
        request.amount,
        request.destination,
        request.metadata,
        transfer.created_at,
    )
    decision.withdrawals.append(NewWithdrawal(receipt, request.by, reference_end(request), request.trace))
    return receipt


def _transfer(
    request: MakeTransfer,
    wallets: Mapping[WalletId, Wallet],
    now: datetime,
    decision: Decision,
    limits: Limits,
) -> TransferReceipt | ReleasesNeeded:
    payer = wallets[request.user_id, request.currency]
    check_payees(request.legs, request.currency, wallets, now, limits)
    if needed := make_available(payer, request.amount, now, decision):
        return needed
    peer = only_payee(request.legs)
    sent = payer.move(Kind.SEND, request.amount, metadata=request.metadata, made_by=request.by, peer=peer)
    decision.transfers.append(sent)
    receive(sent, request.legs, wallets, decision)
    return TransferReceipt(
        sent.id,
        request.user_id,
        request.currency,
        request.amount,
        request.legs,
        request.metadata,
        sent.created_at,
    )


def _hold(
    request: PlaceHold, wallet: Wallet, now: datetime, decision: Decision, limits: Limits
) -> HoldReceipt | ReleasesNeeded:
    require_future("expires_at", request.expires_at, now)
    if limits.open_holds and wallet.open_holds >= limits.open_holds:
        raise OpenHoldsLimitExceeded(limits.open_holds)
    if needed := make_available(wallet, request.amount, now, decision):
        return needed
    transfer = wallet.move(Kind.HOLD, request.amount, made_by=request.by)
    decision.transfers.append(transfer)
    if request.expires_at is not None:
        decision.locks.append(lock_of(transfer, request.expires_at))
    receipt = HoldReceipt(
        transfer.id,
        request.user_id,
        request.currency,
        request.amount,
        request.expires_at,
        request.metadata,
        transfer.created_at,
    )
    decision.holds.append(NewHold(receipt, request.by))
    return receipt

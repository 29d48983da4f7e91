"""The decision about a batch of charges and withdrawals: pure, in arrival order, each on its own merits.

`decide` takes the database's facts (wallets under lock, idempotency keys already used, the database's clock) and
returns the response to each request and the rows to be written. It reads no clock and no connection of its own, so
property tests can run it thousands of times. It decides by the clock; the rows carry the wallet's own instant, which
is later than the clock's if the clock has stepped back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from wallet.commands import Charge, LedgerCommand, Withdraw
from wallet.errors import (
    BalanceLimitExceeded,
    IdempotencyKeyReused,
    InsufficientFunds,
    Unavailable,
    ValidationFailed,
    WalletError,
)
from wallet.fingerprints import UnknownVersion
from wallet.ledger import Kind, Transfer, Wallet, WalletId
from wallet.money import AMOUNT_MAX
from wallet.reference import reference_end


class ChargeReceipt(NamedTuple):
    """A charge that took effect. Nothing in it ever changes, so a replay returns the same bytes."""

    id: UUID
    user_id: str
    currency: str
    amount: int
    release_at: datetime | None
    metadata: str | None
    created_at: datetime


class WithdrawReceipt(NamedTuple):
    """A withdrawal as it was accepted, without its later states."""

    id: UUID
    user_id: str
    currency: str
    amount: int
    destination: str | None
    metadata: str | None
    created_at: datetime


Receipt = ChargeReceipt | WithdrawReceipt


class Recorded(NamedTuple):
    """The request took effect, now or (`replayed`) when its key was first used."""

    receipt: Receipt
    replayed: bool


KeyId = tuple[str, str]
"""(space, idempotency key)"""


class KeyRecord(NamedTuple):
    """The fingerprint and the receipt of the request that used a key."""

    fingerprint: bytes
    receipt: Receipt


class NewKey(NamedTuple):
    """An idempotency key to be written together with its movement."""

    space: str
    key: str
    fingerprint: bytes


class NewWithdrawal(NamedTuple):
    """A withdrawal to be written: its receipt, the API key that sent it, and the end of its bank reference."""

    receipt: WithdrawReceipt
    made_by: str | None
    reference_end: str


class ReleasesNeeded(NamedTuple):
    """Not decided: more locks have matured than were listed, and the request may need them to be accepted."""

    wallet: WalletId
    amount: int
    """Minor units that must be available before the next try, unless all matured locks have been released."""


@dataclass(slots=True)
class Decision:
    """The outcomes, in the order of the requests, and the rows to be written."""

    outcomes: list[Recorded | WalletError | ReleasesNeeded] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    keys: dict[UUID, NewKey] = field(default_factory=dict)
    """The key of each charge and reserve, by the movement's identifier."""
    withdrawals: list[NewWithdrawal] = field(default_factory=list)
    locks: list[Transfer] = field(default_factory=list)
    """Charges whose money is locked."""
    releases: list[Transfer] = field(default_factory=list)
    """Releases among the transfers: their locks end."""


def decide(
    requests: Sequence[LedgerCommand],
    known: Mapping[KeyId, KeyRecord],
    wallets: Mapping[WalletId, Wallet],
    now: datetime,
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
            decision.outcomes.append(_repeat(earlier, request))
            continue
        wallet = wallets[request.user_id, request.currency]
        try:
            if isinstance(request, Charge):
                receipt: Receipt = _charge(request, wallet, now, decision)
            else:
                accepted = _withdraw(request, wallet, now, decision)
                if isinstance(accepted, ReleasesNeeded):
                    decision.outcomes.append(accepted)
                    continue
                receipt = accepted
        except WalletError as refusal:
            decision.outcomes.append(refusal)
            continue
        fingerprint = request.fingerprint()
        used[key_id] = KeyRecord(fingerprint, receipt)
        decision.keys[receipt.id] = NewKey(request.space, request.key, fingerprint)
        decision.outcomes.append(Recorded(receipt, replayed=False))
    return decision


def _repeat(earlier: KeyRecord, request: LedgerCommand) -> Recorded | WalletError:
    try:
        if request.matches(earlier.fingerprint):
            return Recorded(earlier.receipt, replayed=True)
    except UnknownVersion:
        return Unavailable("this idempotency key was used with a later version of this service")
    return IdempotencyKeyReused("this idempotency key was used for another request")


def _charge(request: Charge, wallet: Wallet, now: datetime, decision: Decision) -> ChargeReceipt:
    if request.release_at is not None and request.release_at <= now:
        raise ValidationFailed([("release_at", "must be in the future")])
    if wallet.total + request.amount > AMOUNT_MAX:
        raise BalanceLimitExceeded(f"the wallet's total would pass {AMOUNT_MAX}")
    transfer = wallet.move(
        Kind.CHARGE,
        request.amount,
        release_at=request.release_at,
        metadata=request.metadata,
        made_by=request.by,
    )
    decision.transfers.append(transfer)
    if request.release_at is not None:
        decision.locks.append(transfer)
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
    if wallet.available < request.amount:
        withdrawable = wallet.available + sum(lock.amount for lock in wallet.matured)
        if withdrawable >= request.amount:
            _release(wallet, request.amount, now, decision)
        elif wallet.matured_complete:
            raise InsufficientFunds(withdrawable, request.amount)
        else:
            return ReleasesNeeded((wallet.user_id, wallet.currency), request.amount)
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
    decision.withdrawals.append(NewWithdrawal(receipt, request.by, reference_end(request)))
    return receipt


def _release(wallet: Wallet, amount: int, now: datetime, decision: Decision) -> None:
    """Release matured locks, the oldest first, until `amount` is available.

    That money was already withdrawable; now the ledger shows it as available.
    """
    ended = 0
    while wallet.available < amount:
        lock = wallet.matured[ended]
        if lock.release_at > now:
            raise AssertionError(f"a lock until {lock.release_at} was taken for matured")
        transfer = wallet.move(Kind.RELEASE, lock.amount, reference=lock.charge_id)
        decision.transfers.append(transfer)
        decision.releases.append(transfer)
        ended += 1
    del wallet.matured[:ended]

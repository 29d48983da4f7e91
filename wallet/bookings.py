"""The bookings that several kinds of request have in common: pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from wallet.commands import Leg
from wallet.decision import Decision, NewLeg, NewLock, ReleasesNeeded
from wallet.errors import BalanceLimitExceeded, InsufficientFunds, OpenLocksLimitExceeded, ValidationFailed
from wallet.ledger import Kind, Transfer, Wallet, WalletId
from wallet.limits import Limits


def require_future(field: str, instant: datetime | None, now: datetime) -> None:
    """Raise ValidationFailed unless `instant` is in the future, or None."""
    if instant is not None and instant <= now:
        raise ValidationFailed([(field, "must be in the future")])


def require_room(wallet: Wallet, amount: int, locks: int, limits: Limits, whose: str) -> None:
    """Raise BalanceLimitExceeded or OpenLocksLimitExceeded unless a wallet can take `amount`, in so many locks."""
    greatest = limits.balance.of(wallet.currency)
    if wallet.total + amount > greatest:
        raise BalanceLimitExceeded(whose, greatest)
    if locks and limits.open_locks and wallet.open_locks + locks > limits.open_locks:
        raise OpenLocksLimitExceeded(limits.open_locks)


def check_payees(
    legs: Sequence[Leg], currency: str, wallets: Mapping[WalletId, Wallet], now: datetime, limits: Limits
) -> None:
    """Raise ValidationFailed, or as `require_room` does, unless each leg's wallet can take its money."""
    sums: dict[str, int] = {}
    locks: dict[str, int] = {}
    for leg in legs:
        require_future("release_at", leg.release_at, now)
        sums[leg.to_user_id] = sums.get(leg.to_user_id, 0) + leg.amount
        if leg.release_at is not None:
            locks[leg.to_user_id] = locks.get(leg.to_user_id, 0) + 1
    for user_id, amount in sums.items():
        require_room(wallets[user_id, currency], amount, locks.get(user_id, 0), limits, "a payee's")


def receive(
    sent: Transfer, legs: Sequence[Leg], wallets: Mapping[WalletId, Wallet], decision: Decision
) -> None:
    """Book the legs of what was sent (or captured) in the wallets of the payees."""
    for number, leg in enumerate(legs, 1):
        received = wallets[leg.to_user_id, sent.currency].move(
            Kind.RECEIVE,
            leg.amount,
            reference=sent.id,
            release_at=leg.release_at,
            made_by=sent.made_by,
            peer=sent.user_id,
        )
        decision.transfers.append(received)
        decision.legs.append(
            NewLeg(
                sent.id,
                sent.user_id,
                number,
                leg.to_user_id,
                sent.currency,
                leg.amount,
                leg.release_at,
                received.id,
            )
        )
        if leg.release_at is not None:
            decision.locks.append(lock_of(received, leg.release_at))


def lock_of(transfer: Transfer, until: datetime) -> NewLock:
    """Return the lock of the money that a transfer has put into `locked` or `held`."""
    return NewLock(
        transfer.user_id, transfer.currency, until, transfer.id, transfer.amount, transfer.credit_account
    )


def make_available(wallet: Wallet, amount: int, now: datetime, decision: Decision) -> ReleasesNeeded | None:
    """Release matured locks, the oldest first, until `amount` is available.

    That money was already withdrawable; now the ledger shows it as available. Raises InsufficientFunds; returns the
    releases that must be written first, if the listed ones do not suffice.
    """
    if wallet.available >= amount:
        return None
    withdrawable = wallet.available + sum(lock.amount for lock in wallet.matured)
    if withdrawable < amount:
        if wallet.matured_complete:
            raise InsufficientFunds(withdrawable, amount)
        return ReleasesNeeded((wallet.user_id, wallet.currency), amount)
    ended = 0
    while wallet.available < amount:
        transfer = wallet.release(wallet.matured[ended], now)
        decision.transfers.append(transfer)
        decision.releases.append(transfer)
        ended += 1
    del wallet.matured[:ended]
    return None

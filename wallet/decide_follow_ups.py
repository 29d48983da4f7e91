"""The decision about commands on what is there already, and about adjustments. Pure, in arrival order.

It takes the facts as they are under the locks of all the wallets concerned: every hold, and every counter of what was
reversed, changes only under the lock of a wallet that is among them.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from wallet.adjustments import Adjust, adjust
from wallet.bookings import check_payees, make_available, receive
from wallet.commands import only_payee
from wallet.decision import NewKey, ReleasesNeeded
from wallet.errors import (
    BalanceLimitExceeded,
    CaptureExceedsHold,
    ChargeNotFound,
    HoldNotOpen,
    ValidationFailed,
    WalletError,
)
from wallet.follow_up_commands import CaptureHold, FollowUp, ReverseCharge, ReverseTransfer, VoidHold
from wallet.follow_ups import (
    Facts,
    FollowUps,
    Hold,
    NewReversal,
    ReversedLeg,
    Source,
    Transferred,
    legs_of,
    receipt_of,
)
from wallet.ledger import Kind, Transfer, Wallet, WalletId
from wallet.limits import UNLIMITED, Limits
from wallet.money import AMOUNT_MAX
from wallet.receipts import HoldReceipt, KeyId, KeyRecord, Receipt, Recorded, ReversalReceipt, repeat


def decide_follow_ups(
    commands: Sequence[FollowUp],
    known: Mapping[KeyId, KeyRecord],
    facts: Facts,
    wallets: Mapping[WalletId, Wallet],
    now: datetime,
    limits: Limits = UNLIMITED,
) -> FollowUps:
    """Decide each command in arrival order; a refused one does not affect the others.

    `wallets` holds every wallet concerned, under lock, and is updated to the resulting balances, as `facts` is. A key
    used earlier in the same batch counts as used; the key of a refused command stays free.
    """
    decision = FollowUps()
    used = dict(known)
    for command in commands:
        key_id = None if isinstance(command, VoidHold) else (command.space, command.key)
        earlier = used.get(key_id) if key_id else None
        try:
            if earlier is not None and not isinstance(command, VoidHold):
                decision.outcomes.append(repeat(earlier, command))
                continue
            movement_id, receipt = _follow_up(command, facts, wallets, now, decision, limits)
        except WalletError as refusal:
            decision.outcomes.append(refusal)
            continue
        except _Waits as waits:
            decision.outcomes.append(waits.needed)
            continue
        if not isinstance(command, VoidHold) and key_id:
            fingerprint = command.fingerprint()
            used[key_id] = KeyRecord(fingerprint, receipt)
            decision.keys[movement_id] = NewKey(command.space, command.key, fingerprint)
        decision.outcomes.append(Recorded(receipt, replayed=False))
    return decision


class _Waits(Exception):
    """Releases must be written first."""

    def __init__(self, needed: ReleasesNeeded) -> None:
        super().__init__()
        self.needed = needed


def _follow_up(
    command: FollowUp,
    facts: Facts,
    wallets: Mapping[WalletId, Wallet],
    now: datetime,
    decision: FollowUps,
    limits: Limits,
) -> tuple[UUID, Receipt]:
    """Return the movement that stands for the command, and its receipt."""
    if isinstance(command, Adjust):
        booked = adjust(command, wallets, now, decision, limits)
        if isinstance(booked, ReleasesNeeded):
            raise _Waits(booked)
        return booked
    if isinstance(command, CaptureHold):
        return _capture(command, facts, wallets, now, decision, limits)
    if isinstance(command, VoidHold):
        hold = _void(command, facts, wallets, now, decision)
        return hold.id, receipt_of(hold)
    if isinstance(command, ReverseCharge):
        return _reverse_charge(command, facts, wallets, now, decision)
    return _reverse_transfer(command, facts, wallets, now, decision)


def _require_open(hold: Hold, now: datetime) -> None:
    if hold.status == "open" and hold.expires_at is not None and hold.expires_at <= now:
        raise HoldNotOpen("expired")  # from its very instant, whether or not that is written
    if hold.status != "open":
        raise HoldNotOpen(hold.status)


def _end_lock(hold: Hold, decision: FollowUps) -> None:
    """Let the hold not expire any more."""
    if hold.expires_at is not None:
        decision.reduced_locks[hold.id] = Source(
            hold.id, hold.user_id, hold.currency, hold.amount, hold.amount, hold.expires_at
        )


def _capture(
    command: CaptureHold,
    facts: Facts,
    wallets: Mapping[WalletId, Wallet],
    now: datetime,
    decision: FollowUps,
    limits: Limits,
) -> tuple[UUID, HoldReceipt]:
    hold = facts.own_hold(command)
    _require_open(hold, now)
    legs = legs_of(command, hold)
    amount = sum(leg.amount for leg in legs)
    if amount > hold.amount:
        raise CaptureExceedsHold(hold.amount, amount)
    if any(leg.to_user_id == hold.user_id for leg in legs):
        raise ValidationFailed([("to_user_id", "must be another user than the hold's")])
    check_payees(legs, hold.currency, wallets, now, limits)
    wallet = wallets[hold.user_id, hold.currency]
    peer = only_payee(legs)
    captured = wallet.move(Kind.CAPTURE, amount, made_by=command.by, peer=peer)
    decision.transfers.append(captured)
    receive(captured, legs, wallets, decision)
    if amount < hold.amount:
        rest = wallet.move(Kind.VOID, hold.amount - amount, reference=hold.id, made_by=command.by)
        decision.transfers.append(rest)
    hold.status, hold.captured, hold.transfer_id = "captured", amount, captured.id
    decision.ended_holds[hold.id] = (hold, wallet.at)
    _end_lock(hold, decision)
    return captured.id, receipt_of(hold)


def _void(
    command: VoidHold, facts: Facts, wallets: Mapping[WalletId, Wallet], now: datetime, decision: FollowUps
) -> Hold:
    hold = facts.own_hold(command)
    if hold.status == "voided":
        return hold  # the state tells: voiding again changes nothing
    _require_open(hold, now)
    wallet = wallets[hold.user_id, hold.currency]
    decision.transfers.append(wallet.move(Kind.VOID, hold.amount, reference=hold.id, made_by=command.by))
    hold.status = "voided"
    decision.ended_holds[hold.id] = (hold, wallet.at)
    _end_lock(hold, decision)
    return hold


def _reverse_charge(
    command: ReverseCharge,
    facts: Facts,
    wallets: Mapping[WalletId, Wallet],
    now: datetime,
    decision: FollowUps,
) -> tuple[UUID, ReversalReceipt]:
    charge = facts.charges.get(command.charge_id)
    if charge is None or not charge.user_id.startswith(command.user_prefix or ""):
        raise ChargeNotFound("no such charge")
    amount = charge.amount_left(command.amount)
    wallet = wallets[charge.user_id, charge.currency]
    from_locked = _prepare(wallet, charge, amount, now, decision)
    undone = _take(wallet, Kind.REVERSAL, charge, amount, from_locked, command.by, decision, charge.id)
    decision.reversed_charges.append((charge, amount))
    return _reversal(undone, charge.id, amount, command.reason, decision)


def _reverse_transfer(
    command: ReverseTransfer,
    facts: Facts,
    wallets: Mapping[WalletId, Wallet],
    now: datetime,
    decision: FollowUps,
) -> tuple[UUID, ReversalReceipt]:
    transfer = facts.own_transfer(command)
    amounts = transfer.amounts_left(command)
    total = sum(amounts.values())
    payer = wallets[transfer.from_user_id, transfer.currency]
    if payer.total + total > AMOUNT_MAX:
        raise BalanceLimitExceeded("the payer's", AMOUNT_MAX)
    _check_all(transfer, amounts, wallets, now, decision)
    alone = transfer.legs[next(iter(amounts))].user_id if len(amounts) == 1 else None
    received = payer.move(Kind.RECEIVE, total, made_by=command.by, peer=alone)
    decision.transfers.append(received)
    for number, amount in amounts.items():
        leg = transfer.legs[number]
        wallet = wallets[leg.user_id, leg.currency]
        from_locked = _prepare(wallet, leg, amount, now, decision)
        sent = _take(
            wallet, Kind.SEND, leg, amount, from_locked, command.by, decision, received.id, payer.user_id
        )
        decision.reversed_legs.append(
            ReversedLeg(received.id, payer.user_id, transfer.id, number, amount, sent.id)
        )
    return _reversal(received, transfer.id, total, command.reason, decision)


def _check_all(
    transfer: Transferred,
    amounts: Mapping[int, int],
    wallets: Mapping[WalletId, Wallet],
    now: datetime,
    decision: FollowUps,
) -> None:
    """Raise InsufficientFunds unless every leg can be taken back: all or none. Releases what is due on the way."""
    wanted: dict[str, int] = {}
    for number, amount in amounts.items():
        leg = transfer.legs[number]
        if not _prepare(wallets[leg.user_id, leg.currency], leg, amount, now, decision):
            wanted[leg.user_id] = wanted.get(leg.user_id, 0) + amount
    for user_id, amount in wanted.items():
        _make_available(wallets[user_id, transfer.currency], amount, now, decision)


def _prepare(wallet: Wallet, source: Source, amount: int, now: datetime, decision: FollowUps) -> bool:
    """Return whether the money is locked still; where it is not, make it available. Raises InsufficientFunds.

    What is due is released first: all of the wallet's, because releases are written in the order in which they count.
    """
    is_locked = source.locked > 0 and all(release.reference != source.id for release in decision.releases)
    if is_locked and source.release_at is not None and source.release_at > now:
        return True
    if is_locked:
        if not wallet.matured_complete:
            raise _Waits(ReleasesNeeded((wallet.user_id, wallet.currency), wallet.total))
        due = sum(lock.amount for lock in wallet.matured)
        _make_available(wallet, wallet.available + due, now, decision)
    _make_available(wallet, amount, now, decision)
    return False


def _make_available(wallet: Wallet, amount: int, now: datetime, decision: FollowUps) -> None:
    if needed := make_available(wallet, amount, now, decision):
        raise _Waits(needed)


def _take(
    wallet: Wallet,
    kind: Kind,
    source: Source,
    amount: int,
    from_locked: bool,
    by: str | None,
    decision: FollowUps,
    reference: UUID,
    peer: str | None = None,
) -> Transfer:
    """Take money back out of the wallet, and out of its lock."""
    taken = wallet.move(kind, amount, reference=reference, made_by=by, peer=peer, from_locked=from_locked)
    decision.transfers.append(taken)
    source.reversed += amount
    if from_locked:
        source.locked -= amount
        decision.reduced_locks[source.id] = source
    return taken


def _reversal(
    movement: Transfer, reverses: UUID, amount: int, reason: str | None, decision: FollowUps
) -> tuple[UUID, ReversalReceipt]:
    new = NewReversal(movement.id, movement.user_id, movement.currency, reverses, amount, reason)
    decision.reversals.append(new)
    receipt = ReversalReceipt(movement.id, reverses, movement.currency, amount, reason, movement.created_at)
    return movement.id, receipt

"""What requests are answered with once they took effect: values that never change, so a replay gives the same bytes."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from wallet.commands import KeyedCommand, Leg
from wallet.errors import IdempotencyKeyArchived, IdempotencyKeyReused, Unavailable, WalletError
from wallet.fingerprints import UnknownVersion


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


class TransferReceipt(NamedTuple):
    """A transfer that took effect, as it was made: without what was reversed of it since."""

    id: UUID
    user_id: str
    """The payer."""
    currency: str
    amount: int
    legs: tuple[Leg, ...]
    metadata: str | None
    created_at: datetime


class HoldReceipt(NamedTuple):
    """A hold as it was answered: when it was placed (open), or once it has ended."""

    id: UUID
    user_id: str
    currency: str
    amount: int
    expires_at: datetime | None
    metadata: str | None
    created_at: datetime
    status: str = "open"
    captured: int = 0
    transfer_id: UUID | None = None


class ReversalReceipt(NamedTuple):
    """A reversal of a charge or of a transfer (`reverses`)."""

    id: UUID
    reverses: UUID
    currency: str
    amount: int
    reason: str | None
    created_at: datetime


class AdjustmentReceipt(NamedTuple):
    """An adjustment by an operator; a negative amount was taken."""

    id: UUID
    user_id: str
    currency: str
    amount: int
    reason: str
    by: str
    proposed_by: str | None
    created_at: datetime


Receipt = (
    ChargeReceipt | WithdrawReceipt | TransferReceipt | HoldReceipt | ReversalReceipt | AdjustmentReceipt
)


class Recorded(NamedTuple):
    """The request took effect, now or (`replayed`) when its key was first used."""

    receipt: Receipt
    replayed: bool


KeyId = tuple[str, str]
"""(space, idempotency key)"""


class KeyRecord(NamedTuple):
    """The fingerprint and the receipt of the request that used a key."""

    fingerprint: bytes
    receipt: Receipt | None
    """None: what was made under the key is archived."""


def repeat(earlier: KeyRecord, request: KeyedCommand) -> Recorded | WalletError:
    """Return the outcome of a request whose key was used before: the first answer, or a refusal."""
    try:
        if request.matches(earlier.fingerprint):
            if earlier.receipt is None:
                return IdempotencyKeyArchived(
                    "this request was accepted long ago, and what it made is archived"
                )
            return Recorded(earlier.receipt, replayed=True)
    except UnknownVersion:
        return Unavailable("this idempotency key was used with a later version of this service")
    return IdempotencyKeyReused("this idempotency key was used for another request")

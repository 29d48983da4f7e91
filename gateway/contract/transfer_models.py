"""Response models of transfers, holds and reversals, and of a charge as it is now."""

from datetime import datetime
from typing import Annotated, Literal, cast
from uuid import UUID

import msgspec
from msgspec import Meta

from db.values import raw_json, with_zone
from gateway.contract.problems import Problem
from gateway.contract.response_models import MetadataBack, Money
from gateway.contract.transaction_models import Transaction, transaction_of
from gateway.contract.user_ids import UserIdBack, UserIds
from wallet.receipts import ChargeReceipt, HoldReceipt, ReversalReceipt, TransferReceipt

HoldStatusName = Annotated[Literal["open", "captured", "voided", "expired"], Meta(title="HoldStatus")]


class ChargeNow(Transaction, gc=False):
    """A charge as it is now."""

    reversed: Annotated[int, Meta(description="How much of it was reversed so far, in minor units.")]


class TransferLeg(msgspec.Struct, gc=False):
    """One payee's share of a transfer."""

    to_user_id: UserIdBack
    amount: Money
    release_at: Annotated[datetime | None, Meta(description="Locked until then.")]


class Transfer(msgspec.Struct, gc=False):
    """Money that has moved from one wallet to others."""

    id: UUID
    from_user_id: UserIdBack
    currency: str
    amount: Annotated[int, Meta(ge=1, description="Minor units: the sum of the legs.")]
    legs: list[TransferLeg]
    reversed: Annotated[Money, Meta(description="How much of it was taken back so far.")]
    metadata: MetadataBack
    created_at: datetime


class Hold(msgspec.Struct, gc=False):
    """Money set aside for a later transfer."""

    id: UUID
    user_id: UserIdBack
    currency: str
    amount: Money
    captured: Annotated[Money, Meta(description="How much of it was transferred. The rest went back.")]
    transfer_id: Annotated[UUID | None, Meta(description="The transfer that its capture made.")]
    status: HoldStatusName
    expires_at: datetime | None
    metadata: MetadataBack
    created_at: datetime


class Reversal(msgspec.Struct, gc=False):
    """Money that went back: of a charge to where it came from, of a transfer to its payer."""

    id: UUID
    reverses: Annotated[
        UUID, Meta(description="The charge or the transfer that it undoes, in whole or in part.")
    ]
    currency: str
    amount: Money
    reason: str | None
    created_at: datetime


class TransferResult(msgspec.Struct, omit_defaults=True, gc=False):
    """The result of one item of a bulk request; a refused item does not touch the others."""

    status: Annotated[int, Meta(description="200, or the status that `error` would have alone.")]
    transfer: Annotated[Transfer | msgspec.UnsetType, Meta(description="With status 200.")] = msgspec.UNSET
    replayed: Annotated[bool, Meta(description="Answered from its idempotency key.")] = False
    error: Annotated[Problem | msgspec.UnsetType, Meta(description="With any other status.")] = msgspec.UNSET


class TransfersResult(msgspec.Struct):
    """One result per item, in the order of the request."""

    results: list[TransferResult]


def charge_of(receipt: ChargeReceipt, user_ids: UserIds, reversed: int) -> ChargeNow:
    """Return a charge as it is now."""
    return ChargeNow(**msgspec.structs.asdict(transaction_of(receipt, user_ids)), reversed=reversed)


def transfer_of(receipt: TransferReceipt, user_ids: UserIds, reversed: int = 0) -> Transfer:
    """Return the response to a transfer, or (`reversed`) the transfer as it is now."""
    return Transfer(
        receipt.id,
        user_ids.back(receipt.user_id),
        receipt.currency,
        receipt.amount,
        [
            TransferLeg(user_ids.back(leg.to_user_id), leg.amount, with_zone(leg.release_at))
            for leg in receipt.legs
        ],
        reversed,
        raw_json(receipt.metadata),
        receipt.created_at,
    )


def hold_of(receipt: HoldReceipt, user_ids: UserIds) -> Hold:
    """Return the response about a hold."""
    return Hold(
        receipt.id,
        user_ids.back(receipt.user_id),
        receipt.currency,
        receipt.amount,
        receipt.captured,
        receipt.transfer_id,
        cast(HoldStatusName, receipt.status),
        with_zone(receipt.expires_at),
        raw_json(receipt.metadata),
        receipt.created_at,
    )


def reversal_of(receipt: ReversalReceipt) -> Reversal:
    """Return the response to a reversal. Nothing in it ever changes: a replay gives the same bytes."""
    return Reversal(*receipt)

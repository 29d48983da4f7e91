"""Adjustments in requests and responses."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from db.adjustments import Proposal
from gateway.contract.list_parameters import CursorText, LimitNumber
from gateway.contract.parameters import LIMIT_DEFAULT
from gateway.contract.request_models import Currency, IdempotencyKey, Reason
from gateway.contract.user_ids import UserId, UserIdBack, UserIds
from wallet.money import AMOUNT_MAX
from wallet.receipts import AdjustmentReceipt


class AdjustmentRequest(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Add `amount` minor units to a wallet, or (negative) take them."""

    user_id: UserId
    amount: Annotated[int, Meta(ge=-AMOUNT_MAX, le=AMOUNT_MAX, description="Minor units; not 0.")]
    reason: Reason
    currency: Currency | None = None
    idempotency_key: IdempotencyKey | None = None


class AdjustmentsQuery(msgspec.Struct, kw_only=True):
    """Which adjustments: those that are booked, or those that wait for a second person."""

    status: Literal["completed", "proposed"] = "completed"
    limit: LimitNumber = LIMIT_DEFAULT
    cursor: CursorText | None = None


class Adjustment(msgspec.Struct, gc=False):
    """An adjustment: `completed` is a movement, `proposed` waits for a second person until it is `expired`."""

    id: UUID
    status: Literal["proposed", "completed", "expired"]
    user_id: UserIdBack
    currency: str
    amount: int
    reason: str
    by: str | None
    """Who booked it; None before."""
    proposed_by: str | None
    created_at: datetime


class AdjustmentList(msgspec.Struct, gc=False):
    """A page, newest first."""

    items: list[Adjustment]
    next_cursor: str | None


def adjustment_of(receipt: AdjustmentReceipt, user_ids: UserIds) -> Adjustment:
    """Return what is told of a booked adjustment."""
    return Adjustment(
        receipt.id,
        "completed",
        user_ids.back(receipt.user_id),
        receipt.currency,
        receipt.amount,
        receipt.reason,
        receipt.by or None,
        receipt.proposed_by,
        receipt.created_at,
    )


def proposed_of(proposal: Proposal, user_ids: UserIds) -> Adjustment:
    """Return what is told of an adjustment that is not booked."""
    return Adjustment(
        proposal.id,
        "expired" if proposal.status == "expired" else "proposed",
        user_ids.back(proposal.user_id),
        proposal.currency,
        proposal.amount,
        proposal.reason,
        None,
        proposal.proposed_by,
        proposal.proposed_at,
    )

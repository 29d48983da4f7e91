"""Events, as types. They have the names and the members of the OpenAPI document's schemas.

An event says how its object was when it happened, and never changes.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from wbs_client.enumerations import HoldStatus, Open, WithdrawalStatus
from wbs_client.models import Model, UserId


class EventType(Open):
    """What has happened to what."""

    CHARGE_COMPLETED = "charge.completed"
    CHARGE_RELEASED = "charge.released"
    CHARGE_REVERSED = "charge.reversed"
    TRANSFER_COMPLETED = "transfer.completed"
    TRANSFER_RELEASED = "transfer.released"
    TRANSFER_REVERSED = "transfer.reversed"
    HOLD_OPENED = "hold.opened"
    HOLD_CAPTURED = "hold.captured"
    HOLD_VOIDED = "hold.voided"
    HOLD_EXPIRED = "hold.expired"
    ADJUSTMENT_COMPLETED = "adjustment.completed"
    WITHDRAWAL_PENDING = "withdrawal.pending"
    WITHDRAWAL_PROCESSING = "withdrawal.processing"
    WITHDRAWAL_COMPLETED = "withdrawal.completed"
    WITHDRAWAL_FAILED = "withdrawal.failed"
    WITHDRAWAL_CANCELLED = "withdrawal.cancelled"
    WITHDRAWAL_REQUIRES_ATTENTION = "withdrawal.requires_attention"
    WITHDRAWAL_RETURNED = "withdrawal.returned"


class EventReversal(Model, frozen=True):
    """What was undone by this event."""

    id: UUID
    amount: int
    reason: str | None


class EventLeg(Model, frozen=True):
    """One payee's share: of the transfer, or of what was taken back or released."""

    to_user_id: UserId
    amount: int
    release_at: datetime | None


class ChargeObject(Model, frozen=True):
    """A charge; `reversal` with `charge.reversed`."""

    id: UUID
    user_id: UserId
    currency: str
    amount: int
    release_at: datetime | None
    metadata: dict[str, Any] | None
    created_at: datetime
    reversal: EventReversal | None = None


class TransferObject(Model, frozen=True):
    """A transfer; `reversal` with `transfer.reversed`, whose legs are what was taken back."""

    id: UUID
    from_user_id: UserId
    currency: str
    amount: int
    legs: list[EventLeg]
    metadata: dict[str, Any] | None
    created_at: datetime
    reversal: EventReversal | None = None


class HoldObject(Model, frozen=True):
    """A hold; `captured` of it was transferred, by `transfer_id`."""

    id: UUID
    user_id: UserId
    currency: str
    amount: int
    captured: int
    transfer_id: UUID | None
    status: HoldStatus
    expires_at: datetime | None
    metadata: dict[str, Any] | None
    created_at: datetime


class AdjustmentObject(Model, frozen=True):
    """What an operator has put in, or (negative) taken out."""

    id: UUID
    user_id: UserId
    currency: str
    amount: int
    metadata: dict[str, Any] | None
    created_at: datetime


class WithdrawalObject(Model, frozen=True):
    """A withdrawal, with its status at the time of the event, the reason why, and the request that made it."""

    withdrawal_id: UUID
    status: WithdrawalStatus
    user_id: UserId
    currency: str
    amount: int
    metadata: dict[str, Any] | None
    reason: str
    failure_code: str | None
    reference: str
    bank_reference: str | None
    created_at: datetime
    request_id: str | None = None
    traceparent: str | None = None


EventObject = ChargeObject | TransferObject | HoldObject | AdjustmentObject | WithdrawalObject

_OBJECTS: dict[str, type[EventObject]] = {
    "charge": ChargeObject,
    "transfer": TransferObject,
    "hold": HoldObject,
    "adjustment": AdjustmentObject,
    "withdrawal": WithdrawalObject,
}


class Event(Model, frozen=True):
    """One change of one object. `seq` ascends without gaps within an `epoch`; `id` is the same wherever it is told."""

    epoch: UUID
    seq: int
    id: UUID
    type: EventType
    version: int
    at: datetime
    user_ids: list[UserId]
    currency: str | None
    by: str | None
    object: dict[str, Any]

    def typed(self) -> EventObject | None:
        """Return the object as its type; None if this version does not know it."""
        kind = _OBJECTS.get(self.type.partition(".")[0])
        try:
            return None if kind is None else msgspec.convert(self.object, kind)
        except msgspec.ValidationError:
            return None


class EventsPage(Model, frozen=True):
    """A part of the sequence. Go on with `next_after`; `last_seq` is the last there is."""

    epoch: UUID
    events: list[Event]
    last_seq: int
    next_after: int

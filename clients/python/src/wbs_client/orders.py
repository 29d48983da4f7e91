"""Parts of requests: the items of bulk requests, and legs. They have the names of the OpenAPI document's schemas."""

from datetime import datetime
from typing import Any
from uuid import uuid4

import msgspec

from wbs_client.models import UserId


def new_key() -> str:
    """Return a new idempotency key."""
    return uuid4().hex


class Order(msgspec.Struct, omit_defaults=True):
    """A part of a request; what is None is left out."""


class LegRequest(Order):
    """One payee's share."""

    to_user_id: UserId
    amount: int
    release_at: datetime | None = None


class ReversedLegRequest(Order):
    """How much is to be taken back of one leg of a transfer: its number, from 1."""

    leg: int
    amount: int


class ChargeRequest(Order, kw_only=True):
    """A charge among many. Its key is made with it, so sending the same item again is safe."""

    user_id: UserId
    amount: int
    idempotency_key: str = msgspec.field(default_factory=new_key)
    release_at: datetime | None = None
    currency: str | None = None
    metadata: dict[str, Any] | None = None


class TransferRequest(Order, kw_only=True):
    """A transfer among many: `to_user_id` and `amount`, or `legs`. Its key is made with it."""

    from_user_id: UserId
    to_user_id: UserId | None = None
    amount: int | None = None
    legs: list[LegRequest] | None = None
    idempotency_key: str = msgspec.field(default_factory=new_key)
    release_at: datetime | None = None
    currency: str | None = None
    metadata: dict[str, Any] | None = None

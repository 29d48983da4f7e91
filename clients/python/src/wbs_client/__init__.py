"""The client of Wallet Balance Split. `Client` and `AsyncClient` have the same methods."""

from wbs_client import codes, webhooks
from wbs_client.async_client import AsyncClient, AsyncPendingWithdrawal
from wbs_client.client import Client, PendingWithdrawal
from wbs_client.codes import *  # noqa: F403  (a class per code)
from wbs_client.enumerations import HoldStatus, TransactionKind, WithdrawalStatus
from wbs_client.errors import ApiError, InvalidWebhook, Unanswered, WbsError
from wbs_client.event_models import (
    AdjustmentObject,
    ChargeObject,
    Event,
    EventType,
    HoldObject,
    TransferObject,
    WithdrawalObject,
)
from wbs_client.orders import ChargeRequest, LegRequest, ReversedLegRequest, TransferRequest

__all__ = [
    "AdjustmentObject",
    "ApiError",
    "AsyncClient",
    "AsyncPendingWithdrawal",
    "ChargeObject",
    "ChargeRequest",
    "Client",
    "Event",
    "EventType",
    "HoldObject",
    "HoldStatus",
    "InvalidWebhook",
    "LegRequest",
    "PendingWithdrawal",
    "ReversedLegRequest",
    "TransactionKind",
    "TransferObject",
    "TransferRequest",
    "Unanswered",
    "WbsError",
    "WithdrawalObject",
    "WithdrawalStatus",
    "webhooks",
]
__all__ += codes.__all__

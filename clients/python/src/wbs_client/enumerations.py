"""Enumerations of the service, with the names of the OpenAPI document's schemas. They are open: see `Open`."""

from enum import StrEnum
from typing import Self


class Open(StrEnum):
    """An enumeration to which the service may add: an unknown value becomes a member without a name of its own."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        member = str.__new__(cls, value)
        member._name_ = member._value_ = value
        return member


class TransactionKind(Open):
    """What a transaction is."""

    CHARGE = "charge"
    WITHDRAWAL = "withdrawal"


class TransferDirection(Open):
    """The side of a transfer that a wallet is on."""

    SENT = "sent"
    RECEIVED = "received"


class WithdrawalStatus(Open):
    """Where a withdrawal is."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REQUIRES_ATTENTION = "requires_attention"
    RETURNED = "returned"

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be expected; only a bank that sends money back changes a `completed` one."""
        return self in ("completed", "failed", "cancelled", "returned")


class HoldStatus(Open):
    """Where a hold is."""

    OPEN = "open"
    CAPTURED = "captured"
    VOIDED = "voided"
    EXPIRED = "expired"


class EntryKind(Open):
    """What moved the money of an entry."""

    CHARGE = "charge"
    RELEASE = "release"
    RESERVE = "reserve"
    PAYOUT = "payout"
    REFUND = "refund"
    RETURN = "return"
    REVERSAL = "reversal"
    SEND = "send"
    RECEIVE = "receive"
    HOLD = "hold"
    VOID = "void"
    CAPTURE = "capture"
    ADJUSTMENT = "adjustment"


class HealthStatus(Open):
    """How the service is."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


class DependencyStatus(Open):
    """How a dependency of the service is."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"
    UNKNOWN = "unknown"

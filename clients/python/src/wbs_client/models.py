"""What the service answers, as types. They have the names and the members of the OpenAPI document's schemas.

Amounts are minor units. Members that this version does not know are ignored; values of enumerations that it does not
know come through as they are.
"""

from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec

from wbs_client.enumerations import (
    DependencyStatus,
    EntryKind,
    HealthStatus,
    HoldStatus,
    TransactionKind,
    WithdrawalStatus,
)

T = TypeVar("T")

UserId = int | str
"""`42` and `"42"` are one user; whole numbers come back as integers."""
Destination = str | dict[str, Any]
"""Where the bank shall pay: handed to the bank as it is."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """An object that the service answers. It does not change; ask again for its present state."""


class FieldError(Model, frozen=True):
    """One bad field (`$` is the whole body) and the reason."""

    field: str
    reason: str


class Problem(Model, frozen=True):
    """Why a request was refused (RFC 9457). Branch on `code`; `detail` is for people."""

    code: str
    status: int
    title: str = ""
    detail: str = ""
    type: str = "about:blank"
    request_id: str | None = None
    errors: list[FieldError] = []
    amount: int | None = None
    withdrawable: int | None = None
    held: int | None = None
    left: int | None = None
    limit: int | None = None
    epoch: str | None = None
    oldest_seq: int | None = None
    last_seq: int | None = None


class Transaction(Model, frozen=True):
    """Money that came in (amount > 0) or goes out (amount < 0)."""

    id: UUID
    type: TransactionKind
    user_id: UserId
    currency: str
    amount: int
    status: WithdrawalStatus
    release_at: datetime | None
    metadata: dict[str, Any] | None
    created_at: datetime


class ChargeNow(Transaction, frozen=True):
    """A charge as it is now; `reversed` of it went back so far."""

    reversed: int


class TransferLeg(Model, frozen=True):
    """One payee's share of a transfer, locked until `release_at`."""

    to_user_id: UserId
    amount: int
    release_at: datetime | None


class Transfer(Model, frozen=True):
    """Money that has moved from one wallet to others; `reversed` of it was taken back so far."""

    id: UUID
    from_user_id: UserId
    currency: str
    amount: int
    legs: list[TransferLeg]
    reversed: int
    metadata: dict[str, Any] | None
    created_at: datetime


class Hold(Model, frozen=True):
    """Money set aside for a later transfer; `captured` of it was transferred, by `transfer_id`."""

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


class Reversal(Model, frozen=True):
    """Money that went back; `reverses` is the charge or the transfer that it undoes."""

    id: UUID
    reverses: UUID
    currency: str
    amount: int
    reason: str | None
    created_at: datetime


class AcceptedWithdrawal(Model, frozen=True):
    """A withdrawal as it was accepted."""

    withdrawal_id: UUID
    status: WithdrawalStatus
    status_url: str
    user_id: UserId
    currency: str
    amount: int
    destination: Destination | None
    metadata: dict[str, Any] | None
    created_at: datetime


class HistoryEntry(Model, frozen=True):
    """One step of a withdrawal from a state to the next, and by whom."""

    status: WithdrawalStatus
    at: datetime
    reason: str
    by: str | None


class Failure(Model, frozen=True):
    """The reason why a withdrawal failed, or why its last round of bank calls brought nothing."""

    code: str
    reason: str | None


class Withdrawal(Model, frozen=True):
    """A withdrawal as it is now."""

    withdrawal_id: UUID
    status: WithdrawalStatus
    status_url: str
    user_id: UserId
    currency: str
    amount: int
    destination: Destination | None
    metadata: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime
    attempts: int
    next_attempt_at: datetime | None
    failure: Failure | None
    reference: str
    bank_reference: str | None
    history: list[HistoryEntry]


class Split(Model, frozen=True):
    """What there is in a wallet: total = withdrawable + locked + held."""

    total: int
    withdrawable: int
    locked: int
    held: int


class Balance(Split, frozen=True):
    """A wallet's money: total = withdrawable + locked + held."""

    user_id: UserId
    currency: str


class UserWallets(Model, frozen=True):
    """All wallets of a user, by currency."""

    user_id: UserId
    wallets: list[Balance]


class Effect(Model, frozen=True):
    """What an entry adds to each part of the split."""

    withdrawable: int
    locked: int
    held: int


class StatementEntry(Model, frozen=True):
    """A movement, and what there was after it. `reference` is the charge, transfer, hold … that it belongs to."""

    id: UUID
    kind: EntryKind
    amount: int
    effect: Effect
    balance_after: Split
    reference: UUID
    counterparty: UserId | None
    by: str | None
    created_at: datetime


class Statement(Model, frozen=True, rename={"from_": "from"}):
    """A part of a wallet's statement, oldest first. Opening and closing are those of the whole time."""

    user_id: UserId
    currency: str
    from_: datetime | None
    to: datetime
    opening: Split
    closing: Split
    entries: list[StatementEntry]
    next_cursor: str | None


class Page(Model, Generic[T], frozen=True):
    """A part of a list; `next_cursor` asks for the next, None is the end."""

    items: list[T]
    next_cursor: str | None


class TransactionsPage(Model, frozen=True):
    """A part of a wallet's transactions, newest first."""

    transactions: list[Transaction]
    total: int
    page: int | None
    limit: int
    next_cursor: str | None


class Currency(Model, frozen=True):
    """A currency; with `exponent` 2, an amount of 1234 is 12.34."""

    code: str
    exponent: int


class CurrencyList(Model, frozen=True):
    """The currencies that are taken, and the one of requests that name none."""

    currencies: list[Currency]
    default: str


class Dependency(Model, frozen=True):
    """The state of one dependency of the service."""

    status: DependencyStatus
    detail: str | None = None


class Reason(Model, frozen=True):
    """A reason why the service is not ok; `code` is stable."""

    code: str
    detail: str | None = None


class Health(Model, frozen=True):
    """How the service is. `degraded`: requests are taken, but something is away. `down`: writes fail."""

    status: HealthStatus
    queue_length: int | None
    dependencies: dict[str, Dependency]
    reasons: list[Reason]

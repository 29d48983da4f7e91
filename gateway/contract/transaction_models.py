"""Response models of charges and of a wallet's list, and how they are made from receipts and rows."""

from datetime import datetime
from typing import Annotated, Literal, cast
from uuid import UUID

import msgspec
from msgspec import Meta

from db.reads import TransactionRow
from db.values import raw_json, with_zone
from gateway.contract.problems import Problem
from gateway.contract.response_models import MetadataBack, StatusName
from gateway.contract.user_ids import UserIdBack, UserIds
from wallet.receipts import ChargeReceipt


class Transaction(msgspec.Struct, gc=False):
    """Money that came in (amount > 0) or goes out (amount < 0)."""

    id: UUID
    type: Annotated[Literal["charge", "withdrawal"], Meta(title="TransactionKind")]
    user_id: UserIdBack
    currency: str
    amount: Annotated[int, Meta(description="Minor units; negative for a withdrawal.")]
    status: Annotated[
        StatusName, Meta(description="A charge is always completed; a withdrawal is where it is now.")
    ]
    release_at: Annotated[datetime | None, Meta(description="Charges: locked until then.")]
    metadata: MetadataBack
    created_at: datetime


def transaction_of(receipt: ChargeReceipt, user_ids: UserIds) -> Transaction:
    """Return the response to a charge. Nothing in it ever changes: a replay gives the same bytes."""
    return Transaction(
        receipt.id,
        "charge",
        user_ids.back(receipt.user_id),
        receipt.currency,
        receipt.amount,
        "completed",
        receipt.release_at,
        raw_json(receipt.metadata),
        receipt.created_at,
    )


def transaction_of_row(row: TransactionRow, user_id: int | str, currency: str) -> Transaction:
    """Return an item of a wallet's list, with the user id as responses spell it. A withdrawal's amount is negative."""
    charge = row.kind == "charge"
    return Transaction(
        row.id,
        "charge" if charge else "withdrawal",
        user_id,
        currency,
        row.amount if charge else -row.amount,
        cast(StatusName, row.status),
        with_zone(row.release_at),
        raw_json(row.metadata),
        row.created_at,
    )


class TransactionsPage(msgspec.Struct):
    """A part of a wallet's transactions, newest first."""

    transactions: list[Transaction]
    total: Annotated[int, Meta(description="Transactions of this wallet in all, whatever the filters.")]
    page: Annotated[int | None, Meta(description="Null when a cursor or a filter was given.")]
    limit: int
    next_cursor: Annotated[
        str | None, Meta(description="Send it as `cursor` for the next page; null at the end.")
    ]


class ChargeResult(msgspec.Struct, omit_defaults=True, gc=False):
    """The result of one item of a bulk request; a refused item does not touch the others."""

    status: Annotated[int, Meta(description="200, or the status that `error` would have alone.")]
    transaction: Annotated[Transaction | msgspec.UnsetType, Meta(description="With status 200.")] = (
        msgspec.UNSET
    )
    replayed: Annotated[bool, Meta(description="Answered from its idempotency key.")] = False
    error: Annotated[Problem | msgspec.UnsetType, Meta(description="With any other status.")] = msgspec.UNSET


class ChargesResult(msgspec.Struct):
    """One result per item, in the order of the request."""

    results: list[ChargeResult]

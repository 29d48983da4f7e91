"""Response models: the bodies of responses, as types. The OpenAPI document is generated from them.

A `user_id` that is a plain number up to 2^53-1 is given back as a JSON integer, any other as a string. The spelling in
the request makes no difference: 42 and "42" name the same wallet.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, cast
from uuid import UUID

import msgspec
from msgspec import Meta

from db.reads import TransactionRow, WithdrawalView
from gateway.contract.problems import Problem
from wallet.decide import ChargeReceipt, WithdrawReceipt
from wallet.money import AMOUNT_MAX
from wallet.outcomes import reference_text
from wallet.withdrawal import Status

StatusName = Literal[
    "pending", "processing", "completed", "failed", "cancelled", "requires_attention", "returned"
]
UserIdBack = (
    Annotated[int, Meta(ge=0, le=AMOUNT_MAX)]
    | Annotated[str, Meta(description="Whatever is not a plain number up to 2^53-1.")]
)
Money = Annotated[int, Meta(ge=0, le=AMOUNT_MAX, description="Minor units.")]


class Transaction(msgspec.Struct, gc=False):
    """Money that came in (amount > 0) or goes out (amount < 0)."""

    id: UUID
    type: Literal["charge", "withdrawal"]
    user_id: UserIdBack
    currency: str
    amount: Annotated[int, Meta(description="Minor units; negative for a withdrawal.")]
    status: Annotated[
        StatusName, Meta(description="A charge is always completed; a withdrawal is where it is now.")
    ]
    release_at: Annotated[datetime | None, Meta(description="Charges: locked until then.")]
    metadata: Annotated[Any, Meta(description="An object as it came in the request, or null.")]
    created_at: datetime


class AcceptedWithdrawal(msgspec.Struct, gc=False):
    """A withdrawal as it was accepted. Ask `status_url` how it goes on."""

    withdrawal_id: UUID
    status: Literal["pending"]
    status_url: str
    user_id: UserIdBack
    currency: str
    amount: Money
    destination: Annotated[Any, Meta(description="As it came in the request, or null.")]
    metadata: Annotated[Any, Meta(description="An object as it came in the request, or null.")]
    created_at: datetime


class HistoryEntry(msgspec.Struct):
    """One step of a withdrawal from a state to the next."""

    status: StatusName
    at: datetime
    reason: str
    by: Annotated[
        str | None,
        Meta(
            description="Who moved it: `client`, `actor`, `reconciler`, `bank` or `operator`, then `:` and a "
            "name where there is one. Null in what was written before this was."
        ),
    ]


class Failure(msgspec.Struct):
    """The reason why a withdrawal failed, or why its last round of bank calls brought nothing."""

    code: str
    reason: str | None


class Withdrawal(msgspec.Struct):
    """A withdrawal as it is now."""

    withdrawal_id: UUID
    status: StatusName
    status_url: str
    user_id: UserIdBack
    currency: str
    amount: Money
    destination: Annotated[Any, Meta(description="As it came in the request, or null.")]
    metadata: Annotated[Any, Meta(description="An object as it came in the request, or null.")]
    created_at: datetime
    updated_at: datetime
    attempts: Annotated[int, Meta(description="Rounds of bank calls begun so far.")]
    next_attempt_at: Annotated[datetime | None, Meta(description="While processing: when it is due again.")]
    failure: Failure | None
    reference: Annotated[
        str,
        Meta(description="What the bank knows it by: 32 hexadecimal digits, the same if it is sent again."),
    ]
    bank_reference: Annotated[str | None, Meta(description="The bank's own name for the payout.")]
    history: list[HistoryEntry]


class Balance(msgspec.Struct, gc=False):
    """A wallet's money: total = withdrawable + locked + held."""

    user_id: UserIdBack
    currency: str
    total: Money
    withdrawable: Annotated[Money, Meta(description="Can be withdrawn now.")]
    locked: Annotated[Money, Meta(description="Charged with a release_at that has not come yet.")]
    held: Annotated[Money, Meta(description="Reserved for withdrawals that have not ended.")]


class TransactionsPage(msgspec.Struct):
    """A part of a wallet's transactions, newest first."""

    transactions: list[Transaction]
    total: Annotated[int, Meta(description="Transactions of this wallet in all.")]
    page: Annotated[int | None, Meta(description="Null when a cursor was given.")]
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


class Dependency(msgspec.Struct, omit_defaults=True):
    """The state of one dependency."""

    status: Literal["ok", "degraded", "down", "unknown"]
    detail: str | None = None


class Reason(msgspec.Struct, omit_defaults=True):
    """A reason why the service is not ok."""

    code: Annotated[str, Meta(description="Stable, for machines: `database_read_only`, `relay_down` ….")]
    detail: str | None = None


class Health(msgspec.Struct):
    """`degraded`: requests are taken, but something that they need later is away. `down`: writes fail."""

    status: Literal["ok", "degraded", "down"]
    queue_length: Annotated[int | None, Meta(description="Withdrawals waiting; null if it can't be known.")]
    dependencies: dict[str, Dependency]
    reasons: Annotated[list[Reason], Meta(description="All that is not well, the gravest first.")] = []


class Liveness(msgspec.Struct, omit_defaults=True):
    """The process answers, and its tasks run."""

    status: Literal["ok", "down"]
    failing: Annotated[list[str], Meta(description="Tasks that could not run for 30 s.")] = []


_encode = msgspec.json.Encoder().encode


def encode(model: msgspec.Struct) -> bytes:
    """Return `model` as JSON."""
    return _encode(model)


def user_id_back(user_id: str) -> int | str:
    """Return a canonical decimal up to 2^53-1 as an integer, anything else as it is."""
    if (
        user_id.isdecimal()
        and user_id.isascii()
        and (user_id[0] != "0" or user_id == "0")
        and len(user_id) <= 16
    ):
        number = int(user_id)
        return number if number <= AMOUNT_MAX else user_id
    return user_id


def raw_json(text: str | None) -> msgspec.Raw | None:
    """Return kept JSON text as a value that is encoded unchanged."""
    return None if text is None else msgspec.Raw(text.encode())


def status_url(withdrawal_id: UUID) -> str:
    """Return the path of a withdrawal."""
    return f"/withdrawals/{withdrawal_id}"


def transaction_of(receipt: ChargeReceipt) -> Transaction:
    """Return the response to a charge. Nothing in it ever changes: a replay gives the same bytes."""
    return Transaction(
        receipt.id,
        "charge",
        user_id_back(receipt.user_id),
        receipt.currency,
        receipt.amount,
        "completed",
        receipt.release_at,
        raw_json(receipt.metadata),
        receipt.created_at,
    )


def accepted_of(receipt: WithdrawReceipt) -> AcceptedWithdrawal:
    """Return the response to a withdrawal. A replay gives the same bytes, whatever its state is by then."""
    return AcceptedWithdrawal(
        receipt.id,
        "pending",
        status_url(receipt.id),
        user_id_back(receipt.user_id),
        receipt.currency,
        receipt.amount,
        raw_json(receipt.destination),
        raw_json(receipt.metadata),
        receipt.created_at,
    )


def encode_results(results: Iterable[ChargeResult]) -> bytes:
    """Return the response to a bulk request as one JSON object."""
    return _encode(ChargesResult(list(results)))


def encode_lines(results: Iterable[ChargeResult]) -> bytes:
    """Return the response to a bulk request as NDJSON: one result per line."""
    return b"".join(_encode(result) + b"\n" for result in results)


def transaction_of_row(row: TransactionRow, user_id: str, currency: str) -> Transaction:
    """Return an item of a wallet's list. The amount of a withdrawal is negative."""
    charge = row.kind == "charge"
    return Transaction(
        row.id,
        "charge" if charge else "withdrawal",
        user_id_back(user_id),
        currency,
        row.amount if charge else -row.amount,
        _status(row.status),
        _with_zone(row.release_at),
        raw_json(row.metadata),
        row.created_at,
    )


def withdrawal_of(view: WithdrawalView) -> Withdrawal:
    """Return a withdrawal as it is now."""
    failure = None if view.failure_code is None else Failure(view.failure_code, view.failure_reason)
    return Withdrawal(
        view.id,
        _status(view.status),
        status_url(view.id),
        user_id_back(view.user_id),
        view.currency,
        view.amount,
        raw_json(view.destination),
        raw_json(view.metadata),
        view.created_at,
        view.updated_at,
        view.attempts,
        view.next_attempt_at if view.status == Status.PROCESSING else None,
        failure,
        reference_text(view.reference, view.id),
        view.bank_reference,
        [HistoryEntry(_status(entry.status), entry.at, entry.reason, entry.by) for entry in view.history],
    )


def _with_zone(release_at: datetime | None) -> datetime | None:
    """Return the time with a zone: asyncpg returns the last instant of 9999, which was once allowed, without one."""
    return release_at.replace(tzinfo=UTC) if release_at and release_at.tzinfo is None else release_at


def _status(status: str) -> StatusName:
    return cast(StatusName, status)

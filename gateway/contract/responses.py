"""From receipts and rows to response models, and from these to bytes.

Each `…_of` takes how user ids are spelled in responses.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import cast
from uuid import UUID

import msgspec

from db.reads import Balance as Split
from db.reads import WithdrawalView
from db.values import raw_json
from gateway.contract.response_models import (
    AcceptedWithdrawal,
    Balance,
    Failure,
    HistoryEntry,
    StatusName,
    Withdrawal,
)
from gateway.contract.transaction_models import ChargeResult, ChargesResult
from gateway.contract.user_ids import UserIds
from wallet.outcomes import reference_text
from wallet.receipts import WithdrawReceipt
from wallet.withdrawal import Status

_encode = msgspec.json.Encoder().encode


def encode(model: msgspec.Struct | Mapping[str, object] | Sequence[object]) -> bytes:
    """Return `model` as JSON."""
    return _encode(model)


def status_url(withdrawal_id: UUID) -> str:
    """Return the path of a withdrawal."""
    return f"/withdrawals/{withdrawal_id}"


def balance_of(split: Split, user_ids: UserIds) -> Balance:
    """Return the response to a question for a balance."""
    return Balance(user_ids.back(split.user_id), *split[1:])


def accepted_of(receipt: WithdrawReceipt, user_ids: UserIds) -> AcceptedWithdrawal:
    """Return the response to a withdrawal. A replay gives the same bytes, whatever its state is by then."""
    return AcceptedWithdrawal(
        receipt.id,
        "pending",
        status_url(receipt.id),
        user_ids.back(receipt.user_id),
        receipt.currency,
        receipt.amount,
        raw_json(receipt.destination),
        raw_json(receipt.metadata),
        receipt.created_at,
    )


def encode_results(results: Iterable[ChargeResult]) -> bytes:
    """Return the response to a bulk request as one JSON object."""
    return _encode(ChargesResult(list(results)))


def encode_lines(results: Iterable[msgspec.Struct]) -> bytes:
    """Return the response to a bulk request as NDJSON: one result per line."""
    return b"".join(_encode(result) + b"\n" for result in results)


def withdrawal_of(view: WithdrawalView, user_ids: UserIds) -> Withdrawal:
    """Return a withdrawal as it is now."""
    failure = None if view.failure_code is None else Failure(view.failure_code, view.failure_reason)
    return Withdrawal(
        view.id,
        _status(view.status),
        status_url(view.id),
        user_ids.back(view.user_id),
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


def _status(status: str) -> StatusName:
    return cast(StatusName, status)

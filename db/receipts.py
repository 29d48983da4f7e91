"""The receipts of used idempotency keys: what their requests were answered with, for requests that come again."""

import json
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from db.sql import load
from db.strict import require, whole
from wallet.adjustments import signed
from wallet.commands import Leg
from wallet.receipts import (
    AdjustmentReceipt,
    ChargeReceipt,
    HoldReceipt,
    KeyId,
    KeyRecord,
    Receipt,
    ReversalReceipt,
    TransferReceipt,
    WithdrawReceipt,
)

_SQL = load("ledger")
_NULLABLE = (
    "release_at",
    "destination",
    "metadata",
    "payees",
    "amounts",
    "release_ats",
    "expires_at",
    "hold_id",
    "hold_amount",
    "hold_expires_at",
    "hold_created_at",
    "reverses",
    "reason",
    "made_by",
    "may_be_archived",
)


async def receipts_of(connection: Any, used_keys: Sequence[KeyId]) -> dict[KeyId, KeyRecord]:
    """Read the fingerprints and receipts of used keys. Raises MalformedAnswer if one of them stands for nothing.

    A key whose movement is archived has no receipt.
    """
    if not used_keys:
        return {}
    rows = await connection.fetch(_SQL["receipts"], *zip(*used_keys, strict=True))
    known = {(row["client"], row["key"]): KeyRecord(row["fingerprint"], _receipt(row)) for row in rows}
    require(known.keys() == set(used_keys), "a used key that stands for nothing")
    return known


def _receipt(row: Any) -> Receipt | None:
    if row["id"] is None and row["may_be_archived"]:
        return None
    return _RECEIPTS[whole(row, _NULLABLE)["kind"]](row)


def _head(row: Any) -> tuple[UUID, str, str, int]:
    return row["id"], row["user_id"], row["currency"], row["amount"]


def _charge(row: Any) -> ChargeReceipt:
    return ChargeReceipt(*_head(row), row["release_at"], row["metadata"], row["created_at"])


def _withdrawal(row: Any) -> WithdrawReceipt:
    return WithdrawReceipt(*_head(row), row["destination"], row["metadata"], row["created_at"])


def _transfer(row: Any) -> TransferReceipt:
    require(row["payees"] is not None, "a transfer without legs")
    legs = tuple(map(Leg, row["payees"], row["amounts"], row["release_ats"]))
    return TransferReceipt(*_head(row), legs, row["metadata"], row["created_at"])


def _hold(row: Any) -> HoldReceipt:
    return HoldReceipt(*_head(row), row["expires_at"], row["metadata"], row["created_at"])


def _capture(row: Any) -> HoldReceipt:
    require(row["hold_id"] is not None, "a capture without a hold")
    return HoldReceipt(
        row["hold_id"],
        row["user_id"],
        row["currency"],
        row["hold_amount"],
        row["hold_expires_at"],
        row["metadata"],
        row["hold_created_at"],
        "captured",
        row["amount"],
        row["id"],
    )


def _reversal(row: Any) -> ReversalReceipt:
    require(row["reverses"] is not None, "a reversal of nothing")
    return ReversalReceipt(
        row["id"], row["reverses"], row["currency"], row["amount"], row["reason"], row["created_at"]
    )


def _adjustment(row: Any) -> AdjustmentReceipt:
    require(row["made_by"] is not None and row["metadata"] is not None, "an adjustment by nobody")
    told = json.loads(row["metadata"])
    return AdjustmentReceipt(
        row["id"],
        row["user_id"],
        row["currency"],
        signed(row["amount"], row["debit_account"]),
        told["reason"],
        row["made_by"],
        told.get("proposed_by"),
        row["created_at"],
    )


_RECEIPTS: dict[str, Callable[[Any], Receipt]] = {
    "charge": _charge,
    "reserve": _withdrawal,
    "send": _transfer,
    "hold": _hold,
    "capture": _capture,
    "reversal": _reversal,
    "receive": _reversal,
    "adjustment": _adjustment,
}
"""By the kind of the movement that a key points to. A receive with a key has reversed a transfer."""

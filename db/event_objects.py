"""From a row of the page of events to the event, with a body that never changes."""

from collections.abc import Iterator
from typing import Any, cast

from db.strict import require
from db.values import raw_json, with_zone
from wallet.adjustments import signed
from wallet.events import (
    MODELS,
    VERSION,
    AdjustmentObject,
    ChargeObject,
    Event,
    EventLeg,
    EventObject,
    EventReversal,
    EventType,
    HoldObject,
    TransferObject,
    WithdrawalObject,
    event_id,
)
from wallet.outcomes import reference_text
from wallet.user_ids import Spelling

_HOLD_STATUS = {
    "hold.opened": "open",
    "hold.captured": "captured",
    "hold.voided": "voided",
    "hold.expired": "expired",
}


def event_of(row: Any, spell: Spelling) -> Event:
    """Return the event of a row. Raises MalformedAnswer if what it is about is not there."""
    type = cast(EventType, row["type"])
    kind = type.partition(".")[0]
    moved = row["moved_at"] is not None
    require(moved or row["created_at"] is not None, f"event {row['seq']} is about nothing")
    user_ids = tuple(dict.fromkeys(_users(row)))
    body = MODELS[kind](
        epoch=row["epoch"],
        seq=row["seq"],
        id=event_id(row["epoch"], row["seq"]),
        type=type,
        version=VERSION,
        at=row["moved_at"] if moved else with_zone(row["effective_at"]) or row["created_at"],
        user_ids=[spell(user_id) for user_id in user_ids],
        currency=row["currency"],
        by=row["moved_by"] if moved else row["made_by"],
        object=_OBJECTS[kind](row, spell),
    )
    return Event(row["seq"], type, user_ids, row["numbered_at"], body)


def _users(row: Any) -> Iterator[str]:
    yield row["user_id"]
    yield from row["payees"] or ()


def _charge(row: Any, spell: Spelling) -> EventObject:
    of = "" if row["type"] == "charge.completed" else "source_"
    return ChargeObject(
        row["source_id"] if of else row["id"],
        spell(row["user_id"]),
        row["currency"],
        row[f"{of}amount"],
        with_zone(row[f"{of}release_at"]),
        raw_json(row[f"{of}metadata"]),
        row[f"{of}created_at"],
        _reversal(row),
    )


def _transfer(row: Any, spell: Spelling) -> EventObject:
    if row["type"] == "transfer.released":  # the row `receive` of one payee
        share = EventLeg(spell(row["user_id"]), row["source_amount"], with_zone(row["source_release_at"]))
        return TransferObject(
            row["source_reference"],
            spell(row["payer"]),
            row["currency"],
            row["source_amount"],
            [share],
            None,
            row["source_created_at"],
        )
    of = "" if row["type"] == "transfer.completed" else "source_"
    shares = zip(row["payees"], row["amounts"], row["release_ats"], strict=True)
    return TransferObject(
        row["source_id"] if of else row["id"],
        spell(row["user_id"]),
        row["currency"],
        row[f"{of}amount"],
        [EventLeg(spell(payee), amount, with_zone(until)) for payee, amount, until in shares],
        raw_json(row[f"{of}metadata"]),
        row[f"{of}created_at"],
        _reversal(row),
    )


def _hold(row: Any, spell: Spelling) -> EventObject:
    captured = row["type"] == "hold.captured"
    return HoldObject(
        row["hold_id"],
        spell(row["user_id"]),
        row["currency"],
        row["hold_amount"],
        row["amount"] if captured else 0,
        row["id"] if captured else None,
        cast(Any, _HOLD_STATUS[row["type"]]),
        with_zone(row["hold_expires_at"]),
        raw_json(row["hold_metadata"]),
        row["hold_created_at"],
    )


def _adjustment(row: Any, spell: Spelling) -> EventObject:
    amount = signed(row["amount"], row["debit_account"])
    return AdjustmentObject(
        row["id"],
        spell(row["user_id"]),
        row["currency"],
        amount,
        raw_json(row["metadata"]),
        row["created_at"],
    )


def _withdrawal(row: Any, spell: Spelling) -> EventObject:
    status: Any = row["status"] or "pending"
    return WithdrawalObject(
        row["id"],
        status,
        spell(row["user_id"]),
        row["currency"],
        row["withdrawal_amount"],
        raw_json(row["withdrawal_metadata"]),
        row["move_reason"] or "funds reserved",
        row["failure_code"] if status == "failed" else None,
        reference_text(row["withdrawal_reference"], row["id"]),
        row["bank_reference"] if status in ("completed", "returned") else None,
        row["withdrawal_created_at"],
        row["request_id"],
        row["traceparent"],
    )


_OBJECTS = {
    "charge": _charge,
    "transfer": _transfer,
    "hold": _hold,
    "adjustment": _adjustment,
    "withdrawal": _withdrawal,
}


def _reversal(row: Any) -> EventReversal | None:
    if not row["type"].endswith(".reversed"):
        return None
    return EventReversal(row["id"], row["amount"], row["reversal_reason"])

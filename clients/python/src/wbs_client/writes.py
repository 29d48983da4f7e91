"""What moves money: each function returns the request. They are the methods of both clients.

Amounts are minor units, times need an offset; what is None is left out. A write that is given no `idempotency_key` gets
a new one: that protects this call with all its repetitions, and no more. To be safe against a crash of your own, make
the key from the intention ("order-7001").
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import httpx
import msgspec

from wbs_client.call import Call, as_json, body, segment
from wbs_client.models import (
    AcceptedWithdrawal,
    Destination,
    Hold,
    Reversal,
    Transaction,
    Transfer,
    UserId,
    Withdrawal,
)
from wbs_client.orders import ChargeRequest, LegRequest, ReversedLegRequest, TransferRequest, new_key
from wbs_client.results import ChargeResult, ChargesResult, TransferResult, TransfersResult

T = TypeVar("T")
Id = UUID | str
Metadata = dict[str, Any]


def _post(operation: str, path: str, kind: type[T], key: str | None, **members: Any) -> Call[T]:
    key = key or new_key()
    content = body(**members, idempotency_key=key)
    return Call(operation=operation, method="POST", path=path, read=as_json(kind), body=content, key=key)


def charge(
    user_id: UserId,
    amount: int,
    *,
    idempotency_key: str | None = None,
    release_at: datetime | None = None,
    currency: str | None = None,
    metadata: Metadata | None = None,
) -> Call[Transaction]:
    """Put money into a wallet; it is locked until `release_at`."""
    more = {"release_at": release_at, "currency": currency, "metadata": metadata}
    return _post(
        "createCharge", "/charge", Transaction, idempotency_key, user_id=user_id, amount=amount, **more
    )


def charge_many(items: Iterable[ChargeRequest]) -> Call[list[ChargeResult]]:
    """Put money into wallets: up to 1,000 charges, each with its own result, in order."""

    def read(response: httpx.Response) -> list[ChargeResult]:
        return msgspec.json.decode(response.content, type=ChargesResult).results

    content = msgspec.json.encode(list(items))
    return Call(operation="createCharges", method="POST", path="/charges", read=read, body=content)


def reverse_charge(
    charge_id: Id, amount: int | None = None, *, idempotency_key: str | None = None, reason: str | None = None
) -> Call[Reversal]:
    """Undo `amount` of a charge, or all that is left of it. Raises ExceedsOriginal, InsufficientFunds."""
    path = f"/charges/{segment(charge_id)}/reverse"
    return _post("reverseCharge", path, Reversal, idempotency_key, amount=amount, reason=reason)


def withdraw(
    user_id: UserId,
    amount: int,
    *,
    destination: Destination | None = None,
    idempotency_key: str | None = None,
    currency: str | None = None,
    metadata: Metadata | None = None,
    traceparent: str | None = None,
) -> Call[AcceptedWithdrawal]:
    """Pay money out of a wallet, through the bank. Raises InsufficientFunds.

    What comes back can be waited for: `withdraw(…).wait()`. `traceparent` (W3C Trace Context): the bank is called, and
    webhooks are sent, in this trace.
    """
    more = {"destination": destination, "currency": currency, "metadata": metadata}
    members = {"user_id": user_id, "amount": amount, **more}
    call = _post("createWithdrawal", "/withdraw", AcceptedWithdrawal, idempotency_key, **members)
    return call if traceparent is None else replace(call, headers={"traceparent": traceparent})


def cancel_withdrawal(withdrawal_id: Id) -> Call[Withdrawal]:
    """Cancel a withdrawal that is pending still. Raises NotCancellable once the bank may have been called."""
    path = f"/withdrawals/{segment(withdrawal_id)}/cancel"
    return Call(operation="cancelWithdrawal", method="POST", path=path, read=as_json(Withdrawal))


def transfer(
    from_user_id: UserId,
    to_user_id: UserId | None = None,
    amount: int | None = None,
    *,
    legs: list[LegRequest] | None = None,
    idempotency_key: str | None = None,
    release_at: datetime | None = None,
    currency: str | None = None,
    metadata: Metadata | None = None,
) -> Call[Transfer]:
    """Move money to another wallet (`to_user_id`, `amount`), or to several at once (`legs`): all or none."""
    members = {"from_user_id": from_user_id, "to_user_id": to_user_id, "amount": amount, "legs": legs}
    more = {"release_at": release_at, "currency": currency, "metadata": metadata}
    return _post("createTransfer", "/transfers", Transfer, idempotency_key, **members, **more)


def transfer_many(items: Iterable[TransferRequest]) -> Call[list[TransferResult]]:
    """Make up to 1,000 transfers, each with its own result, in order."""

    def read(response: httpx.Response) -> list[TransferResult]:
        return msgspec.json.decode(response.content, type=TransfersResult).results

    content = msgspec.json.encode(list(items))
    return Call(operation="createTransfer", method="POST", path="/transfers", read=read, body=content)


def reverse_transfer(
    transfer_id: Id,
    amount: int | None = None,
    *,
    legs: list[ReversedLegRequest] | None = None,
    idempotency_key: str | None = None,
    reason: str | None = None,
) -> Call[Reversal]:
    """Take a transfer back: `amount` of its only leg, `legs`, or all that is left of each leg."""
    path = f"/transfers/{segment(transfer_id)}/reverse"
    return _post("reverseTransfer", path, Reversal, idempotency_key, amount=amount, legs=legs, reason=reason)


def hold(
    user_id: UserId,
    amount: int,
    *,
    idempotency_key: str | None = None,
    expires_at: datetime | None = None,
    currency: str | None = None,
    metadata: Metadata | None = None,
) -> Call[Hold]:
    """Set money aside for a later transfer. Raises InsufficientFunds."""
    more = {"expires_at": expires_at, "currency": currency, "metadata": metadata}
    return _post("createHold", "/holds", Hold, idempotency_key, user_id=user_id, amount=amount, **more)


def capture_hold(
    hold_id: Id,
    to_user_id: UserId | None = None,
    amount: int | None = None,
    *,
    legs: list[LegRequest] | None = None,
    idempotency_key: str | None = None,
    release_at: datetime | None = None,
) -> Call[Hold]:
    """Transfer a hold's money, all of it or `amount`, to a wallet or to several (`legs`). The rest goes back.

    Raises HoldNotOpen, CaptureExceedsHold.
    """
    path = f"/holds/{segment(hold_id)}/capture"
    members = {"to_user_id": to_user_id, "amount": amount, "legs": legs, "release_at": release_at}
    return _post("captureHold", path, Hold, idempotency_key, **members)


def void_hold(hold_id: Id) -> Call[Hold]:
    """Give all of a hold's money back; again changes nothing. Raises HoldNotOpen if it was captured or has expired."""
    path = f"/holds/{segment(hold_id)}/void"
    return Call(operation="voidHold", method="POST", path=path, read=as_json(Hold))

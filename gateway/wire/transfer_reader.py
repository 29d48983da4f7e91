"""Reads the bodies of requests about transfers, holds and reversals into commands, as `request_reader` does."""

from collections.abc import Sequence
from datetime import datetime
from typing import Generic, TypeVar
from uuid import UUID

import msgspec
from msgspec import UNSET

from gateway.contract.kept_json import kept_metadata
from gateway.contract.request_errors import UNREADABLE, explain, one_key, raw_items, utc
from gateway.contract.request_models import (
    CaptureRequest,
    HoldRequest,
    LegRequest,
    ReverseChargeRequest,
    ReverseTransferRequest,
    TransferRequest,
)
from gateway.contract.user_ids import UserIds, fitted
from gateway.wire.auth import Caller
from gateway.wire.request_reader import require_few
from wallet.canonical import checked_json
from wallet.commands import Leg, MakeTransfer, PlaceHold
from wallet.errors import ValidationFailed, WalletError
from wallet.follow_up_commands import CaptureHold, ReverseCharge, ReverseTransfer
from wallet.money import AMOUNT_MAX

Asked = TypeVar("Asked", bound=msgspec.Struct)


class TransferReader:
    """Reads request bodies into commands. `default_currency` is the currency of requests that name none.

    Each method raises `ValidationFailed`, `MalformedJson` or `WalletNotFound`.
    """

    def __init__(self, default_currency: str, user_ids: UserIds) -> None:
        self._default_currency = default_currency
        self._transfers = BodyReader(TransferRequest, user_ids)
        self._holds = BodyReader(HoldRequest, user_ids)
        self._captures = BodyReader(CaptureRequest, user_ids)
        self._charge_reversals = BodyReader(ReverseChargeRequest, user_ids)
        self._transfer_reversals = BodyReader(ReverseTransferRequest, user_ids)

    def transfer(self, body: bytes, caller: Caller, header_keys: Sequence[str] = ()) -> MakeTransfer:
        """Return the transfer in `body`."""
        try:
            asked = self._transfers.read(body)
            payer = str(asked.from_user_id)
            legs = _legs(asked)
            metadata = None if asked.metadata is UNSET else kept_metadata(asked.metadata)
            key = one_key(asked.idempotency_key, header_keys)
        except UNREADABLE:
            raise self._transfers.explain(body, header_keys) from None
        if not legs:
            raise ValidationFailed(_missing(asked))
        caller.require_own(payer)
        amount = _sum(legs, payer, caller)
        currency = asked.currency or self._default_currency
        return MakeTransfer(caller.space, key, payer, currency, amount, legs, metadata, caller.name)

    def transfers(self, body: bytes, caller: Caller) -> list[MakeTransfer | WalletError]:
        """Return the transfers in a JSON array. Each item is read by itself; a bad one is returned as its error.

        Raises also `PayloadTooLarge` if there are too many.
        """
        return self._items(raw_items(body), caller)

    def transfer_lines(self, body: bytes, caller: Caller) -> list[MakeTransfer | WalletError]:
        """Return the transfers in NDJSON, one per line, as `transfers` does; empty lines are skipped."""
        return self._items([line for line in body.split(b"\n") if line.strip()], caller)

    def hold(self, body: bytes, caller: Caller, header_keys: Sequence[str] = ()) -> PlaceHold:
        """Return the hold in `body`."""
        try:
            asked = self._holds.read(body)
            expires_at = _utc(asked.expires_at)
            metadata = None if asked.metadata is UNSET else kept_metadata(asked.metadata)
            key = one_key(asked.idempotency_key, header_keys)
        except UNREADABLE:
            raise self._holds.explain(body, header_keys) from None
        user_id = str(asked.user_id)
        caller.require_own(user_id)
        currency = asked.currency or self._default_currency
        return PlaceHold(
            caller.space, key, user_id, currency, asked.amount, expires_at, metadata, caller.name
        )

    def capture(
        self, hold_id: UUID, body: bytes, caller: Caller, header_keys: Sequence[str] = ()
    ) -> CaptureHold:
        """Return the capture of a hold in `body`."""
        try:
            asked = self._captures.read(body)
            legs = _legs(asked)
            release_at = _utc(asked.release_at)
            key = one_key(asked.idempotency_key, header_keys)
        except UNREADABLE:
            raise self._captures.explain(body, header_keys) from None
        payee = None if asked.to_user_id is UNSET else str(asked.to_user_id)
        if not legs and payee is None:
            raise ValidationFailed([("to_user_id", "is required, unless there are legs")])
        _sum(legs, None, caller)
        if payee is not None:
            caller.require_own(payee)
        return CaptureHold(
            caller.space,
            key,
            hold_id,
            legs,
            None if legs else payee,
            None if legs else release_at,
            caller.name,
            caller.user_prefix,
        )

    def reverse_charge(
        self, charge_id: UUID, body: bytes, caller: Caller, header_keys: Sequence[str] = ()
    ) -> ReverseCharge:
        """Return the reversal of a charge in `body`."""
        asked, key = asked_and_key(self._charge_reversals, body, header_keys)
        return ReverseCharge(
            caller.space, key, charge_id, asked.amount, asked.reason, caller.name, caller.user_prefix
        )

    def reverse_transfer(
        self, transfer_id: UUID, body: bytes, caller: Caller, header_keys: Sequence[str] = ()
    ) -> ReverseTransfer:
        """Return the reversal of a transfer in `body`."""
        asked, key = asked_and_key(self._transfer_reversals, body, header_keys)
        if asked.amount is not None and asked.legs is not None:
            raise ValidationFailed([("amount", "can't be given together with legs")])
        legs = tuple((leg.leg, leg.amount) for leg in asked.legs or ())
        return ReverseTransfer(
            caller.space, key, transfer_id, legs, asked.amount, asked.reason, caller.name, caller.user_prefix
        )

    def _items(
        self, items: Sequence[bytes | msgspec.Raw], caller: Caller
    ) -> list[MakeTransfer | WalletError]:
        require_few(items)
        return [self._item(bytes(item), caller) for item in items]

    def _item(self, body: bytes, caller: Caller) -> MakeTransfer | WalletError:
        try:
            return self.transfer(body, caller)
        except WalletError as error:
            return error


class BodyReader(Generic[Asked]):
    """Reads one kind of body, with user ids as the setting has them."""

    def __init__(self, kind: type[Asked], user_ids: UserIds) -> None:
        self._kind: type[Asked] = fitted(kind, user_ids)
        self._decoder = msgspec.json.Decoder(self._kind)

    def read(self, body: bytes) -> Asked:
        """Decode a body. Raises the errors in UNREADABLE, also for members that are named twice."""
        asked: Asked = self._decoder.decode(body)
        if body.count(b'"') != _quotes(asked) or b"\\" in body:
            checked_json(body.decode())
        return asked

    def explain(self, body: bytes, header_keys: Sequence[str]) -> WalletError:
        """Return the error that names everything that is wrong with a body that was refused."""
        return explain(body, self._kind, header_keys)


def asked_and_key(reader: BodyReader[Asked], body: bytes, header_keys: Sequence[str]) -> tuple[Asked, str]:
    """Return what a body asks for, and its key, which the header may name instead."""
    try:
        asked = reader.read(body)
        return asked, one_key(getattr(asked, "idempotency_key", None), header_keys)
    except UNREADABLE:
        raise reader.explain(body, header_keys) from None


def _quotes(asked: msgspec.Struct) -> int:
    """Return the number of quotation marks in a body that names each member once, and none as null."""
    quotes = 0
    for name in asked.__struct_fields__:
        value = getattr(asked, name)
        if isinstance(value, str | datetime):
            quotes += 4
        elif isinstance(value, list):
            quotes += 2 + sum(map(_quotes, value))
        elif isinstance(value, msgspec.Raw):
            quotes += 2 + bytes(value).count(b'"')
        elif value is not None and value is not UNSET:
            quotes += 2
    return quotes


def _utc(at: datetime | None) -> datetime | None:
    return None if at is None else utc(at)


def _legs(asked: TransferRequest | CaptureRequest) -> tuple[Leg, ...]:
    """Return the legs: those that are given, or the one that `to_user_id` and `amount` stand for.

    Raises ValidationFailed if both are given, Unfit for a time beyond the calendar.
    """
    if asked.legs is not None:
        both = [
            name
            for name in ("to_user_id", "amount", "release_at")
            if getattr(asked, name) not in (None, UNSET)
        ]
        if both:
            raise ValidationFailed([(name, "can't be given together with legs") for name in both])
        return tuple(map(_leg, asked.legs))
    if asked.to_user_id is UNSET or asked.amount is None:
        return ()
    return (Leg(str(asked.to_user_id), asked.amount, _utc(asked.release_at)),)


def _leg(asked: LegRequest) -> Leg:
    return Leg(str(asked.to_user_id), asked.amount, _utc(asked.release_at))


def _missing(asked: TransferRequest) -> list[tuple[str, str]]:
    return [
        (name, "is required, unless there are legs")
        for name in ("to_user_id", "amount")
        if getattr(asked, name) in (None, UNSET)
    ]


def _sum(legs: Sequence[Leg], payer: str | None, caller: Caller) -> int:
    """Return the sum of the legs, whose payees are the caller's own, and others than the payer."""
    for leg in legs:
        if leg.to_user_id == payer:
            raise ValidationFailed([("to_user_id", "must be another user than the payer")])
        caller.require_own(leg.to_user_id)
    total = sum(leg.amount for leg in legs)
    if total > AMOUNT_MAX:
        raise ValidationFailed([("legs", f"must not come to more than {AMOUNT_MAX}")])
    return total

"""Reads the body of a request into a command.

One decode validates everything. Only if it fails, each field is checked by itself, so that the response names *every*
bad field.

The decoder overlooks members that are named twice: the last one counts. They are found by counting quotation marks: a
body without backslashes that names each member once has only the quotation marks of its names and texts. If it has
more, a parser that checks each name reads it.
"""

from collections.abc import Sequence
from functools import partial

import msgspec
from msgspec import UNSET

from gateway.contract.bodies import ITEMS_MAX
from gateway.contract.kept_json import kept_destination, kept_metadata
from gateway.contract.problems import PayloadTooLarge
from gateway.contract.request_errors import UNREADABLE, explain, one_key, raw_items, utc
from gateway.contract.request_models import ChargeRequest, WithdrawRequest
from gateway.contract.user_ids import UserIds, fitted
from gateway.wire.auth import Caller
from gateway.wire.turns import Turns
from wallet.canonical import checked_json
from wallet.commands import Charge, Withdraw
from wallet.errors import WalletError
from wallet.traces import Trace


class RequestReader:
    """Reads request bodies into commands. `default_currency` is the currency of requests that name none."""

    def __init__(self, default_currency: str, user_ids: UserIds) -> None:
        self._default_currency = default_currency
        self._turns = Turns()
        self._charge_kind: type[ChargeRequest] = fitted(ChargeRequest, user_ids)
        self._withdraw_kind: type[WithdrawRequest] = fitted(WithdrawRequest, user_ids)
        self._charge_decoder = msgspec.json.Decoder(self._charge_kind)
        self._charges_decoder = msgspec.json.Decoder(list[self._charge_kind])  # type: ignore[name-defined]
        self._withdraw_decoder = msgspec.json.Decoder(self._withdraw_kind)

    def charge(self, body: bytes, caller: Caller, header_keys: Sequence[str] = ()) -> Charge:
        """Return the command in `body`. Raises `ValidationFailed`, `MalformedJson` or `WalletNotFound`."""
        try:
            asked = self._charge_decoder.decode(body)
            if body.count(b'"') != _quotes(asked):
                checked_json(body.decode())
            return self._charge(asked, caller, header_keys)
        except UNREADABLE:
            raise explain(body, self._charge_kind, header_keys) from None

    def withdraw(
        self, body: bytes, caller: Caller, header_keys: Sequence[str] = (), trace: Trace | None = None
    ) -> Withdraw:
        """Return the command in `body`. Raises `ValidationFailed`, `MalformedJson` or `WalletNotFound`."""
        try:
            asked = self._withdraw_decoder.decode(body)
            quotes = _quotes(asked)
            if asked.destination is not UNSET:
                quotes += 2 + bytes(asked.destination).count(b'"')
            if body.count(b'"') != quotes:
                checked_json(body.decode())
            user_id = _text(asked.user_id)
            caller.require_own(user_id)
            return Withdraw(
                caller.space,
                one_key(asked.idempotency_key, header_keys),
                user_id,
                asked.currency or self._default_currency,
                asked.amount,
                None if asked.destination is UNSET else kept_destination(asked.destination),
                None if asked.metadata is UNSET else kept_metadata(asked.metadata),
                caller.name,
                trace,
            )
        except UNREADABLE:
            raise explain(body, self._withdraw_kind, header_keys) from None

    async def charges(self, body: bytes, caller: Caller) -> list[Charge | WalletError]:
        """Return the commands in a JSON array. Each item is read by itself; a bad one is returned as its error.

        Raises `ValidationFailed` if `body` is not an array, `MalformedJson` if it is not JSON, and `PayloadTooLarge` if
        there are too many.
        """
        if caller.user_prefix is not None:
            return await self._items(raw_items(body), caller)  # each is refused or taken by itself
        try:
            asked: list[ChargeRequest] = self._charges_decoder.decode(body)
            require_few(asked)
            if body.count(b'"') == sum(map(_quotes, asked)):
                return [self._charge(item, caller, ()) for item in asked]
        except UNREADABLE:
            pass
        return await self._items(raw_items(body), caller)

    async def charge_lines(self, body: bytes, caller: Caller) -> list[Charge | WalletError]:
        """Return the commands in NDJSON, one per line. Each is read by itself; empty lines are skipped.

        Raises `PayloadTooLarge` if there are too many.
        """
        return await self._items([line for line in body.split(b"\n") if line.strip()], caller)

    async def _items(
        self, items: Sequence[bytes | msgspec.Raw], caller: Caller
    ) -> list[Charge | WalletError]:
        require_few(items)
        return await self._turns.map(caller.name, partial(self._item, caller=caller), items)

    def _item(self, body: bytes | msgspec.Raw, caller: Caller) -> Charge | WalletError:
        try:
            return self.charge(bytes(body), caller)
        except WalletError as error:
            return error

    def _charge(self, asked: ChargeRequest, caller: Caller, header_keys: Sequence[str]) -> Charge:
        """Return the command. Raises the errors in UNREADABLE, or WalletNotFound."""
        user_id = _text(asked.user_id)
        caller.require_own(user_id)
        return Charge(
            caller.space,
            one_key(asked.idempotency_key, header_keys),
            user_id,
            asked.currency or self._default_currency,
            asked.amount,
            None if asked.release_at is None else utc(asked.release_at),
            None if asked.metadata is UNSET else kept_metadata(asked.metadata),
            caller.name,
        )


def require_few(items: Sequence[object]) -> None:
    """Raise PayloadTooLarge if there are more items than one request may have."""
    if len(items) > ITEMS_MAX:
        raise PayloadTooLarge(f"{len(items)} items, at most {ITEMS_MAX} at once")


def _quotes(asked: ChargeRequest | WithdrawRequest) -> int:
    """Return the number of quotation marks in a body that names each member once, without those of a destination.

    A body that names a member twice has more, however the names are spelled: no member is without two of them.
    """
    quotes = 6 if isinstance(asked.user_id, str) else 4
    if asked.idempotency_key is not None:
        quotes += 4
    if asked.currency is not None:
        quotes += 4
    if asked.metadata is not UNSET:
        quotes += 2 + bytes(asked.metadata).count(b'"')
    if isinstance(asked, ChargeRequest) and asked.release_at is not None:
        quotes += 4
    return quotes


def _text(user_id: int | str) -> str:
    return user_id if isinstance(user_id, str) else str(user_id)

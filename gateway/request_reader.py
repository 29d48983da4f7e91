"""From the bytes of a request to a command.

There are two ways: one decode that validates everything, and, only if that fails, a slow one that looks at
each field alone, so that the answer names *every* bad field.
"""

from datetime import datetime

import msgspec

from gateway.auth import Caller
from gateway.request_errors import UNREADABLE, Errors, explain, json_text, one_key, raw_items, utc
from gateway.requests import DESTINATION_BYTES_MAX, METADATA_BYTES_MAX, ChargeRequest, WithdrawRequest
from wallet.commands import Charge, Withdraw
from wallet.errors import ValidationFailed, WalletError

_charge_decoder = msgspec.json.Decoder(ChargeRequest)
_withdraw_decoder = msgspec.json.Decoder(WithdrawRequest)
_charges_decoder = msgspec.json.Decoder(list[ChargeRequest])


class RequestReader:
    """Turns request bodies into commands. `default_currency` is meant where a request names none."""

    def __init__(self, default_currency: str) -> None:
        self._default_currency = default_currency

    def charge(self, body: bytes, caller: Caller, header_key: str | None) -> Charge:
        """Return the command in `body`. Raises `ValidationFailed` or `MalformedJson`."""
        try:
            asked = _charge_decoder.decode(body)
        except UNREADABLE:
            raise explain(body, ChargeRequest, header_key) from None
        return self._charge(asked, caller, header_key)

    def withdraw(self, body: bytes, caller: Caller, header_key: str | None) -> Withdraw:
        """Return the command in `body`. Raises `ValidationFailed` or `MalformedJson`."""
        try:
            asked = _withdraw_decoder.decode(body)
        except UNREADABLE:
            raise explain(body, WithdrawRequest, header_key) from None
        errors: Errors = []
        destination = json_text(asked.destination, "destination", DESTINATION_BYTES_MAX, errors)
        metadata = json_text(asked.metadata, "metadata", METADATA_BYTES_MAX, errors)
        key = asked.idempotency_key
        if key is None or header_key is not None:
            key = one_key(key, header_key, errors)
        if errors:
            raise ValidationFailed(errors)
        return Withdraw(
            caller.space,
            key,
            _text(asked.user_id),
            asked.currency or self._default_currency,
            asked.amount,
            destination,
            metadata,
            caller.name,
        )

    def charges(self, body: bytes, caller: Caller) -> list[Charge | WalletError]:
        """Return the commands in a JSON array, each item read alone: a bad one is its error.

        Raises `ValidationFailed` if `body` is not an array, `MalformedJson` if it is not JSON.
        """
        try:
            asked = _charges_decoder.decode(body)
        except UNREADABLE:
            return [self._item(raw, caller) for raw in raw_items(body)]
        return [self._checked(item, caller) for item in asked]

    def charge_lines(self, body: bytes, caller: Caller) -> list[Charge | WalletError]:
        """Return the commands in NDJSON, one a line, each read alone. Empty lines are skipped."""
        return [self._item(line, caller) for line in body.split(b"\n") if line.strip()]

    def _item(self, body: bytes | msgspec.Raw, caller: Caller) -> Charge | WalletError:
        try:
            return self.charge(bytes(body), caller, None)
        except WalletError as error:
            return error

    def _checked(self, asked: ChargeRequest, caller: Caller) -> Charge | WalletError:
        try:
            return self._charge(asked, caller, None)
        except WalletError as error:
            return error

    def _charge(self, asked: ChargeRequest, caller: Caller, header_key: str | None) -> Charge:
        key = asked.idempotency_key
        release_at: datetime | None = None
        metadata: str | None = None
        # The plain charge, key in the body and nothing more, costs no more than these tests.
        if (
            key is None
            or header_key is not None
            or asked.release_at is not None
            or asked.metadata is not None
        ):
            errors: Errors = []
            release_at = utc(asked.release_at, errors)
            metadata = json_text(asked.metadata, "metadata", METADATA_BYTES_MAX, errors)
            key = one_key(key, header_key, errors)
            if errors:
                raise ValidationFailed(errors)
        return Charge(
            caller.space,
            key,
            _text(asked.user_id),
            asked.currency or self._default_currency,
            asked.amount,
            release_at,
            metadata,
            caller.name,
        )


def _text(user_id: int | str) -> str:
    return user_id if isinstance(user_id, str) else str(user_id)

"""What the bank accepts, and why it refuses the rest."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field
from sanic import Request

from .destinations import UnknownTest, Wish, wish_of
from .entries import PayoutOrder
from .faults import Faults
from .replies import Refusal, invalid

PAGE_MAX = 1_000
PAGE_DEFAULT = 100

_VISIBLE = r"\A[!-~]{1,255}\Z"  # ASCII without the space: it stands in addresses and headers
_is_visible = re.compile(_VISIBLE).match


class PayoutBody(Struct, forbid_unknown_fields=True):
    """The body of POST /payouts. `amount` in minor units; `destination` is any JSON and is kept as it came."""

    reference: Annotated[str, Meta(pattern=_VISIBLE)]
    amount: Annotated[int, Meta(gt=0, le=2**63 - 1)]
    currency: Annotated[str, Meta(pattern=r"\A[A-Z]{3}\Z")]  # `$` would let a newline pass
    destination: msgspec.Raw = field(default=msgspec.Raw(b"null"))


class ReturnBody(Struct, forbid_unknown_fields=True):
    """The body of POST /payouts/{reference}/return, which may be left out: how much comes back, if not all."""

    amount: Annotated[int, Meta(gt=0, le=2**63 - 1)] | None = None


_payout_body = msgspec.json.Decoder(PayoutBody)
_return_body = msgspec.json.Decoder(ReturnBody)
_text = msgspec.json.Decoder(str)
_faults_body = msgspec.json.Decoder(Faults)


def payout_order(request: Request) -> tuple[PayoutOrder, Wish | None]:
    """Read POST /payouts: the order, and what its destination asks for. Raises Refusal 400 or 422."""
    key = request.headers.get("idempotency-key")
    if not key:
        raise Refusal(400, "idempotency_key_missing", "The header Idempotency-Key is required")
    if not _is_visible(key):
        raise invalid("Idempotency-Key", "1 to 255 visible ASCII characters")
    body: PayoutBody = _decode(_payout_body, request.body)
    raw = bytes(body.destination)
    try:
        destination = raw.decode()  # JSON, whatever its numbers are: it is sent back as it came
        wish = wish_of(_decode(_text, raw), body.amount) if destination.startswith('"') else None
    except UnicodeDecodeError:
        raise Refusal(400, "malformed_json", "The body is not UTF-8") from None
    except UnknownTest as error:
        raise invalid("destination", str(error)) from None
    order = PayoutOrder(
        body.reference, key, body.amount, body.currency, None if destination == "null" else destination
    )
    return order, wish


def returned_amount(request: Request) -> int | None:
    """Read POST /payouts/{reference}/return: how much comes back, None for all. Raises Refusal 400 or 422."""
    if not request.body:
        return None
    read: ReturnBody = _decode(_return_body, request.body)
    return read.amount


def faults(request: Request) -> Faults:
    """Read PUT /faults. Raises Refusal 400 or 422."""
    read: Faults = _decode(_faults_body, request.body)
    return read


def page(request: Request) -> tuple[str | None, int]:
    """Read the cursor and the size of the page that is asked for. Raises Refusal 422."""
    limit = request.args.get("limit", str(PAGE_DEFAULT))
    if not (limit.isascii() and limit.isdecimal() and len(limit) < 6 and 1 <= int(limit) <= PAGE_MAX):
        raise invalid("limit", f"a whole number from 1 to {PAGE_MAX}")
    return request.args.get("after") or None, int(limit)


def _decode(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$.")
        raise invalid(place.rstrip("`") or "body", reason) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, "malformed_json", f"The body is not JSON: {error}") from None

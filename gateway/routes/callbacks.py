"""POST /bank/callbacks: what the bank tells us by itself, signed (Standard Webhooks).

Any answer but 2xx makes the bank tell it again, so nothing is dropped: what can't be taken now is refused,
with the reason, and comes back. Telling it twice changes nothing: a withdrawal is returned once.
"""

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta
from sanic import Request
from standardwebhooks import Webhook, WebhookVerificationError

from gateway.auth import Caller
from gateway.body import json_body
from gateway.endpoint import Endpoints
from gateway.http import JSON, Answer
from gateway.operation import Body, Given, Operation
from gateway.problems import InvalidSignature, MalformedJson
from gateway.queries import read_uuid
from gateway.request_errors import check_names
from gateway.services import Services
from wallet.errors import Unavailable, ValidationFailed, WithdrawalNotFound
from wallet.money import AMOUNT_MAX
from wallet.telemetry import log


class ReturnedPayout(msgspec.Struct):
    """Money that came back to us. Further fields are the bank's business."""

    reference: Annotated[str, Meta(description="The withdrawal.")]
    payout_id: Annotated[str, Meta(min_length=1, max_length=255)]
    amount: Annotated[int, Meta(ge=1, le=AMOUNT_MAX)]
    currency: str


class BankCallback(msgspec.Struct):
    """What the bank tells."""

    type: Literal["payout.returned"]
    data: ReturnedPayout


_SIGNED = "Required. Of the Standard Webhooks specification."
_EXAMPLE = {
    "type": "payout.returned",
    "timestamp": "2026-11-23T09:00:00Z",
    "data": {
        "reference": "0199d3c0-8b2f-7d10-8000-5be1c0ffee01",
        "payout_id": "po_7f3a",
        "amount": 400,
        "currency": "USD",
        "returned_at": "2026-11-23T09:00:00Z",
    },
}

CALLBACK = Operation(
    "POST",
    "/bank/callbacks",
    "Bank",
    "The bank tells that money came back",
    description="Signed with the secret that bank and wallet share; older than five minutes, it is refused. "
    "Any answer but 204 makes the bank tell it again.",
    headers={"webhook-id": _SIGNED, "webhook-timestamp": _SIGNED, "webhook-signature": _SIGNED},
    body=Body({JSON: (BankCallback, _EXAMPLE)}),
    answers={204: Given("Taken.", media_types=())},
    errors=(
        "malformed_json",
        "invalid_signature",
        "withdrawal_not_found",
        "not_returnable",
        "illegal_move",
        "payload_too_large",
        "unsupported_media_type",
        "validation_failed",
        "internal_error",
        "overloaded",
        "unavailable",
    ),
    open_to_all=True,
)

_decoder = msgspec.json.Decoder(BankCallback)


def register(endpoints: Endpoints, services: Services) -> None:
    """Serve the bank's callbacks."""
    secret = services.settings.bank_webhook_secret
    webhook = Webhook(secret) if secret else None

    async def callback(request: Request, caller: Caller) -> Answer:
        if webhook is None:
            raise Unavailable("WBS_BANK_WEBHOOK_SECRET is not set: callbacks can't be verified")
        told = read_callback(webhook, json_body(request), dict(request.headers))
        status = await services.withdrawals.return_(
            _withdrawal_id(told), told.payout_id, told.amount, told.currency
        )
        log.info("payout_returned", withdrawal_id=told.reference, status=status)
        return Answer(b"", 204)

    endpoints.add(CALLBACK, callback)


def read_callback(webhook: Webhook, body: bytes, headers: dict[str, str]) -> ReturnedPayout:
    """Return what the bank tells. Raises InvalidSignature, MalformedJson, ValidationFailed."""
    try:
        webhook.verify(body, headers, json_parse=False)
    except WebhookVerificationError as error:
        raise InvalidSignature(str(error)) from None
    except ValueError:  # a signature that is no base64 or has no version; a body that is no UTF-8
        raise InvalidSignature("the signature can't be read") from None
    try:
        told = _decoder.decode(body).data
    except msgspec.ValidationError as error:
        raise ValidationFailed([("$", str(error))]) from None
    except msgspec.DecodeError as error:
        raise MalformedJson(str(error)) from None
    check_names(body)
    return told


def _withdrawal_id(told: ReturnedPayout) -> UUID:
    id = read_uuid(told.reference)
    if id is None:
        raise WithdrawalNotFound("no withdrawal has this reference")
    return id

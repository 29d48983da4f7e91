"""POST /bank/callbacks: the bank's own messages about payouts, signed (Standard Webhooks).

A callback moves no money and is not believed. It makes the reconciler ask the bank at once, and the bank's answer is
believed. So a callback that is forged, old, doubled or in the wrong order does no harm.

Any response but 2xx makes the bank send the callback again. So none is lost: the response is 204 only once the row is
committed that makes the reconciler ask.
"""

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from gateway.callback_secrets import CallbackSecrets
from gateway.contract.bodies import JSON
from gateway.contract.operation import Operation, RequestBody, ResponseSpec
from gateway.contract.problems import MalformedJson
from gateway.contract.reasons import bad_field
from gateway.contract.request_errors import check_names
from gateway.services import Services
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request
from gateway.wire.response import Response
from runtime.telemetry import log
from runtime.trail import trail
from wallet.errors import Unavailable, ValidationFailed

TYPES = frozenset({"payout.paid", "payout.declined", "payout.returned"})
"""The types that mean something to us. Others are taken too, so that the bank does not send them again."""


class CallbackPayout(msgspec.Struct):
    """The payout that a callback is about. Further fields are ignored."""

    reference: Annotated[str, Meta(description="Of the withdrawal, as the bank knows it.", max_length=255)]


class BankCallback(msgspec.Struct):
    """A message of the bank about a payout."""

    type: Annotated[
        str, Meta(description="`payout.paid`, `payout.declined`, `payout.returned`.", max_length=255)
    ]
    data: CallbackPayout


_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
_SIGNED = "Required. Of the Standard Webhooks specification."
_EXAMPLE = {
    "type": "payout.returned",
    "timestamp": "2026-11-23T09:00:00Z",
    "data": {
        "reference": "5be1c0ff0199d3c08b2f7d1080005be1",
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
    "The bank tells what became of a payout",
    id="receiveBankCallback",
    description="Signed with a secret that bank and wallet share; older than five minutes, it is refused. "
    "It moves nothing by itself: the bank is asked at once what became of the payout. Any answer but 204 makes the "
    "bank tell it again.",
    headers=dict.fromkeys(_HEADERS, _SIGNED),
    body=RequestBody({JSON: (BankCallback, _EXAMPLE)}),
    responses={204: ResponseSpec("Taken.", media_types=())},
    errors=(
        "malformed_json",
        "invalid_signature",
        "payload_too_large",
        "unsupported_media_type",
        "validation_failed",
        "internal_error",
        "overloaded",
        "unavailable",
    ),
)

_decoder = msgspec.json.Decoder(BankCallback)


class CallbackRoutes:
    """Serves the bank's callbacks."""

    def __init__(self, services: Services) -> None:
        self._secrets = CallbackSecrets(services.settings)
        self._reads = services.reads

    def register(self, endpoints: Endpoints) -> None:
        """Add the endpoint."""
        endpoints.add(CALLBACK, self.callback)

    async def callback(self, request: Request, caller: Caller) -> Response:
        """Have the bank asked at once, if the callback is signed and is about a payout of ours."""
        signatures = self._secrets.signatures()
        if not signatures:
            raise Unavailable("WBS_BANK_WEBHOOK_SECRET is not set: callbacks can't be verified")
        body = request.body
        values = (request.headers.getall(name, []) for name in _HEADERS)
        signatures.verify(body, *values)
        told = read_callback(body)
        reference = _reference(told.data.reference)
        known = told.type in TYPES and reference is not None and await self._reads.callback(reference)
        note = trail.note if known else log.warning
        note("bank_called_back", type=told.type, reference=told.data.reference, known=bool(known))
        return Response(b"", 204)


def read_callback(body: bytes) -> BankCallback:
    """Return what a callback tells. Raises MalformedJson, ValidationFailed."""
    try:
        told = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise ValidationFailed([bad_field(error)]) from None
    except msgspec.DecodeError as error:
        raise MalformedJson(str(error)) from None
    check_names(body)
    return told


def _reference(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None

"""POST /charges/{charge_id}/reverse: undo a charge, in whole or in part."""

from gateway.contract.bodies import JSON
from gateway.contract.idempotency_keys import KEY_HEADER_DOC, REPLAYED_DOC
from gateway.contract.operation import WRITE_ERRORS, Operation, RequestBody, ResponseSpec
from gateway.contract.parameters import read_id
from gateway.contract.request_models import ReverseChargeRequest
from gateway.contract.responses import encode
from gateway.contract.transfer_models import Reversal, reversal_of
from gateway.routes.replays import answer
from gateway.services import Services
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request, key_header
from gateway.wire.response import Response
from wallet.errors import ChargeNotFound
from wallet.receipts import ReversalReceipt
from wallet.scopes import Scope

REVERSE_CHARGE = Operation(
    "POST",
    "/charges/{charge_id}/reverse",
    "Charges",
    "Undo a charge, in whole or in part",
    id="reverseCharge",
    examples={"charge_id": "0199d3c0-7e1a-7c3e-8000-2d1f6b7a9c01"},
    description="`amount` of it (left out: all that is left), never more than there was. What is locked still is taken "
    "from there, what is due is released first.",
    headers={"Idempotency-Key": KEY_HEADER_DOC},
    path_parameters={"charge_id": "As `POST /charge` gave it."},
    body=RequestBody(
        {
            JSON: (
                ReverseChargeRequest,
                {"amount": 400, "idempotency_key": "tour-reversal-2", "reason": "charged twice"},
            )
        }
    ),
    responses={
        200: ResponseSpec(
            "It took effect.",
            Reversal,
            {
                "id": "0199d3c0-c0de-7f00-8000-5a5aa1c09b05",
                "reverses": "0199d3c0-7e1a-7c3e-8000-2d1f6b7a9c01",
                "currency": "USD",
                "amount": 400,
                "reason": "charged twice",
                "created_at": "2026-11-22T12:00:05.123456Z",
            },
            headers=REPLAYED_DOC,
        )
    },
    errors=(
        *WRITE_ERRORS,
        "charge_not_found",
        "idempotency_key_reused",
        "idempotency_key_archived",
        "insufficient_funds",
        "exceeds_original",
    ),
    scope=Scope.REVERSE,
)


class ReversalRoutes:
    """Serves the reversals of charges."""

    def __init__(self, services: Services) -> None:
        self._requests = services.transfer_requests
        self._follow_up = services.ledger.follow_up

    def register(self, endpoints: Endpoints) -> None:
        """Add the endpoint."""
        endpoints.add(REVERSE_CHARGE, self.reverse)

    async def reverse(self, request: Request, caller: Caller, charge_id: str) -> Response:
        """Undo a charge."""
        id = read_id(charge_id, ChargeNotFound("no such charge"))
        command = self._requests.reverse_charge(id, request.body, caller, key_header(request))
        recorded = await self._follow_up(command)
        assert isinstance(recorded.receipt, ReversalReceipt)
        return answer(encode(reversal_of(recorded.receipt)), recorded)

"""POST /holds: set money aside for a later transfer. GET a hold; POST to capture or void it."""

from typing import Any
from uuid import UUID

from gateway.contract.bodies import JSON
from gateway.contract.idempotency_keys import KEY_HEADER_DOC, REPLAYED_DOC
from gateway.contract.operation import READ_ERRORS, USER, WRITE_ERRORS, Operation, RequestBody, ResponseSpec
from gateway.contract.parameters import read_id
from gateway.contract.request_models import CaptureRequest, HoldRequest
from gateway.contract.responses import encode
from gateway.contract.transfer_models import Hold, hold_of
from gateway.routes.replays import answer
from gateway.services import Services
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request, key_header
from gateway.wire.response import Response
from wallet.errors import HoldNotFound
from wallet.follow_up_commands import VoidHold
from wallet.receipts import HoldReceipt, Recorded
from wallet.scopes import Scope

_EXAMPLE_RESPONSE: dict[str, Any] = {
    "id": "0199d3c0-b2a7-7e55-8000-1c1ba1c09b03",
    "user_id": USER,
    "currency": "USD",
    "amount": 300,
    "captured": 0,
    "transfer_id": None,
    "status": "open",
    "expires_at": None,
    "metadata": None,
    "created_at": "2026-11-22T12:00:04.123456Z",
}
_CAPTURED = {
    **_EXAMPLE_RESPONSE,
    "captured": 200,
    "transfer_id": "0199d3c0-b2a7-7e55-8000-1c1ba1c09b04",
    "status": "captured",
}
_ID_DOC = {"hold_id": "As `POST /holds` gave it."}

HOLD = Operation(
    "POST",
    "/holds",
    "Holds",
    "Set money aside for a later transfer",
    id="createHold",
    description="The money is `held` until the hold is captured, voided, or expires.",
    headers={"Idempotency-Key": KEY_HEADER_DOC},
    body=RequestBody(
        {JSON: (HoldRequest, {"user_id": USER, "amount": 300, "idempotency_key": "tour-hold-1"})}
    ),
    responses={
        200: ResponseSpec(
            "It is open.", Hold, _EXAMPLE_RESPONSE, headers=REPLAYED_DOC, gives={"hold_id": "id"}
        )
    },
    errors=(
        *WRITE_ERRORS,
        "wallet_not_found",
        "idempotency_key_reused",
        "idempotency_key_archived",
        "insufficient_funds",
        "open_holds_limit_exceeded",
    ),
    scope=Scope.HOLD,
)

HOLD_BY_ID = Operation(
    "GET",
    "/holds/{hold_id}",
    "Holds",
    "A hold",
    id="getHold",
    examples={"hold_id": _EXAMPLE_RESPONSE["id"]},
    path_parameters=_ID_DOC,
    responses={200: ResponseSpec("As it is now.", Hold, _EXAMPLE_RESPONSE)},
    errors=(*READ_ERRORS, "hold_not_found"),
    scope=Scope.READ,
)

CAPTURE = Operation(
    "POST",
    "/holds/{hold_id}/capture",
    "Holds",
    "Transfer a hold's money",
    id="captureHold",
    examples={"hold_id": _EXAMPLE_RESPONSE["id"]},
    description="`amount` of it (left out: all) to `to_user_id`, or `legs`; what is left goes back. That makes a "
    "transfer (`transfer_id`), which can be taken back as any.",
    headers={"Idempotency-Key": KEY_HEADER_DOC},
    path_parameters=_ID_DOC,
    body=RequestBody(
        {
            JSON: (
                CaptureRequest,
                {"to_user_id": USER + 1, "amount": 200, "idempotency_key": "tour-capture-1"},
            )
        }
    ),
    responses={200: ResponseSpec("It is captured.", Hold, _CAPTURED, headers=REPLAYED_DOC)},
    errors=(
        *WRITE_ERRORS,
        "wallet_not_found",
        "hold_not_found",
        "hold_not_open",
        "capture_exceeds_hold",
        "idempotency_key_reused",
        "idempotency_key_archived",
        "balance_limit_exceeded",
        "open_locks_limit_exceeded",
    ),
    scope=Scope.HOLD,
)

VOID = Operation(
    "POST",
    "/holds/{hold_id}/void",
    "Holds",
    "Give a hold's money back to its wallet",
    id="voidHold",
    examples={"hold_id": _EXAMPLE_RESPONSE["id"]},
    description="Voiding again changes nothing. A hold that was captured, or has expired, is 409.",
    path_parameters=_ID_DOC,
    responses={200: ResponseSpec("It is voided.", Hold, {**_EXAMPLE_RESPONSE, "status": "voided"})},
    errors=(
        "unauthorized",
        "forbidden",
        "hold_not_found",
        "hold_not_open",
        "rate_limited",
        "internal_error",
        "overloaded",
        "unavailable",
    ),
    scope=Scope.HOLD,
)


class HoldRoutes:
    """Serves the holds."""

    def __init__(self, services: Services) -> None:
        self._requests = services.transfer_requests
        self._user_ids = services.user_ids
        self._submit = services.intake.submit
        self._follow_up = services.ledger.follow_up
        self._reads = services.reads

    def register(self, endpoints: Endpoints) -> None:
        """Add the endpoints."""
        endpoints.add(HOLD, self.hold)
        endpoints.add(HOLD_BY_ID, self.hold_by_id)
        endpoints.add(CAPTURE, self.capture)
        endpoints.add(VOID, self.void)

    async def hold(self, request: Request, caller: Caller) -> Response:
        """Set money aside."""
        command = self._requests.hold(request.body, caller, key_header(request))
        return self._answer(await self._submit(command))

    async def hold_by_id(self, request: Request, caller: Caller, hold_id: str) -> Response:
        """Return a hold as it is now."""
        found = await self._reads.hold(_id(hold_id))
        if not caller.owns(found.user_id):
            raise HoldNotFound("no such hold")
        return Response(encode(hold_of(found, self._user_ids)))

    async def capture(self, request: Request, caller: Caller, hold_id: str) -> Response:
        """Transfer a hold's money."""
        command = self._requests.capture(_id(hold_id), request.body, caller, key_header(request))
        return self._answer(await self._follow_up(command))

    async def void(self, request: Request, caller: Caller, hold_id: str) -> Response:
        """Give a hold's money back."""
        command = VoidHold(_id(hold_id), caller.name, caller.user_prefix)
        return self._answer(await self._follow_up(command))

    def _answer(self, recorded: Recorded) -> Response:
        assert isinstance(recorded.receipt, HoldReceipt)
        return answer(encode(hold_of(recorded.receipt, self._user_ids)), recorded)


def _id(text: str) -> UUID:
    return read_id(text, HoldNotFound("no such hold"))

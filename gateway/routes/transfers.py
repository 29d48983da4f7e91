"""POST /transfers: money from one wallet to others. GET a transfer; POST to take it back."""

from typing import Annotated, Any

from msgspec import Meta

from gateway.contract.bodies import BULK_BYTES_MAX, ITEMS_MAX, JSON, NDJSON
from gateway.contract.idempotency_keys import KEY_HEADER_DOC, REPLAYED_DOC
from gateway.contract.operation import (
    READ_ERRORS,
    USER,
    WRITE_ERRORS,
    OneOf,
    Operation,
    RequestBody,
    ResponseSpec,
)
from gateway.contract.parameters import read_id
from gateway.contract.problems import Problem
from gateway.contract.request_models import ReverseTransferRequest, TransferRequest
from gateway.contract.responses import encode, encode_lines
from gateway.contract.transfer_models import (
    Reversal,
    Transfer,
    TransferResult,
    TransfersResult,
    reversal_of,
    transfer_of,
)
from gateway.contract.user_ids import UserIds
from gateway.routes.bulk import counts, require_some, submit_all
from gateway.routes.replays import answer
from gateway.services import Services
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request, is_ndjson, key_header, wants
from gateway.wire.response import Response
from wallet.errors import TransferNotFound
from wallet.receipts import Recorded, ReversalReceipt, TransferReceipt
from wallet.scopes import Scope

# For the document only: the reader takes items one by one, so that a bad one harms no other.
_TransferRequests = OneOf(
    "TransferOrTransfers",
    (TransferRequest, Annotated[list[TransferRequest], Meta(min_length=1, max_length=ITEMS_MAX)]),
)

_ID = "0199d3c0-9c11-7a20-8000-3fd2a1c09b01"
_EXAMPLE = {"from_user_id": USER, "to_user_id": USER + 1, "amount": 250, "idempotency_key": "tour-transfer-1"}
_EXAMPLE_RESPONSE: dict[str, Any] = {
    "id": _ID,
    "from_user_id": USER,
    "currency": "USD",
    "amount": 250,
    "legs": [{"to_user_id": USER + 1, "amount": 250, "release_at": None}],
    "reversed": 0,
    "metadata": None,
    "created_at": "2026-11-22T12:00:02.123456Z",
}
_ID_DOC = {"transfer_id": "As `POST /transfers` gave it, or a captured hold's `transfer_id`."}

TRANSFER = Operation(
    "POST",
    "/transfers",
    "Transfers",
    "Move money from one wallet to another, or to several",
    id="createTransfer",
    description="`to_user_id` and `amount`, or up to 50 `legs`: all of them take effect or none does. With a "
    "`release_at` the payee's money is locked until then. Payees' wallets come into being as they are paid. "
    f"An array, or NDJSON with one transfer per line, holds up to {ITEMS_MAX} transfers: each item carries its own "
    "key and has its own result, and a bad one harms no other.",
    headers={"Idempotency-Key": KEY_HEADER_DOC},
    body=RequestBody(
        {JSON: (_TransferRequests, _EXAMPLE), NDJSON: (None, [_EXAMPLE])}, bytes_max=BULK_BYTES_MAX
    ),
    responses={
        200: ResponseSpec(
            "It took effect; for many: one result per item.",
            OneOf("TransferOrResults", (Transfer, TransfersResult)),
            _EXAMPLE_RESPONSE,
            headers=REPLAYED_DOC,
            gives={"transfer_id": "id"},
            media_types=(JSON, NDJSON),
        )
    },
    errors=(
        *WRITE_ERRORS,
        "wallet_not_found",
        "idempotency_key_reused",
        "idempotency_key_archived",
        "insufficient_funds",
        "balance_limit_exceeded",
        "open_locks_limit_exceeded",
    ),
    scope=Scope.TRANSFER,
)

TRANSFER_BY_ID = Operation(
    "GET",
    "/transfers/{transfer_id}",
    "Transfers",
    "A transfer, and how much of it was taken back",
    id="getTransfer",
    examples={"transfer_id": _ID},
    path_parameters=_ID_DOC,
    responses={200: ResponseSpec("As it is now.", Transfer, _EXAMPLE_RESPONSE)},
    errors=(*READ_ERRORS, "transfer_not_found"),
    scope=Scope.READ,
)

REVERSE_TRANSFER = Operation(
    "POST",
    "/transfers/{transfer_id}/reverse",
    "Transfers",
    "Take a transfer back, in whole or in part",
    id="reverseTransfer",
    examples={"transfer_id": _ID},
    description="`amount` of its only leg, or `legs` with a number and an amount each, or neither: all that is left. "
    "All or none, and never more than there was. What is locked still is taken from there.",
    headers={"Idempotency-Key": KEY_HEADER_DOC},
    path_parameters=_ID_DOC,
    body=RequestBody({JSON: (ReverseTransferRequest, {"amount": 100, "idempotency_key": "tour-reversal-1"})}),
    responses={
        200: ResponseSpec(
            "It took effect.",
            Reversal,
            {
                "id": "0199d3c0-a001-7b10-8000-77d1a1c09b02",
                "reverses": _ID,
                "currency": "USD",
                "amount": 100,
                "reason": None,
                "created_at": "2026-11-22T12:00:03.123456Z",
            },
            headers=REPLAYED_DOC,
        )
    },
    errors=(
        *WRITE_ERRORS,
        "transfer_not_found",
        "idempotency_key_reused",
        "idempotency_key_archived",
        "insufficient_funds",
        "exceeds_original",
        "balance_limit_exceeded",
    ),
    scope=Scope.REVERSE,
)


class TransferRoutes:
    """Serves the transfers."""

    def __init__(self, services: Services) -> None:
        self._requests = services.transfer_requests
        self._user_ids = services.user_ids
        self._submit = services.intake.submit
        self._follow_up = services.ledger.follow_up
        self._reads = services.reads
        self._limiter = services.limiter

    def register(self, endpoints: Endpoints) -> None:
        """Add the endpoints."""
        endpoints.add(TRANSFER, self.transfer)
        endpoints.add(TRANSFER_BY_ID, self.transfer_by_id)
        endpoints.add(REVERSE_TRANSFER, self.reverse)

    async def transfer(self, request: Request, caller: Caller) -> Response:
        """Move money: one transfer, or many."""
        if is_ndjson(request) or request.body.lstrip()[:1] == b"[":
            return await self._transfers(request, caller)
        recorded = await self._submit(self._requests.transfer(request.body, caller, key_header(request)))
        assert isinstance(recorded.receipt, TransferReceipt)
        return answer(encode(transfer_of(recorded.receipt, self._user_ids)), recorded)

    async def _transfers(self, request: Request, caller: Caller) -> Response:
        read = self._requests.transfer_lines if is_ndjson(request) else self._requests.transfers
        commands = read(request.body, caller)
        require_some(commands)
        if self._limiter is not None:
            self._limiter.take(caller.name, len(commands) - 1, taken=1)
        outcomes = await submit_all(self._submit, commands)
        results = [_result_of(outcome, self._user_ids) for outcome in outcomes]
        if wants(request, NDJSON):
            response = Response(encode_lines(results), content_type=NDJSON)
        else:
            response = Response(encode(TransfersResult(results)))
        response.wrote = counts(outcomes)
        return response

    async def transfer_by_id(self, request: Request, caller: Caller, transfer_id: str) -> Response:
        """Return a transfer as it is now."""
        id = read_id(transfer_id, TransferNotFound("no such transfer"))
        found = (await self._reads.transfer(id)).seen_by(caller.owns)
        if found is None:
            raise TransferNotFound("no such transfer")
        return Response(encode(transfer_of(found.receipt, self._user_ids, found.reversed)))

    async def reverse(self, request: Request, caller: Caller, transfer_id: str) -> Response:
        """Take a transfer back."""
        id = read_id(transfer_id, TransferNotFound("no such transfer"))
        command = self._requests.reverse_transfer(id, request.body, caller, key_header(request))
        recorded = await self._follow_up(command)
        assert isinstance(recorded.receipt, ReversalReceipt)
        return answer(encode(reversal_of(recorded.receipt)), recorded)


def _result_of(outcome: Recorded | Problem, user_ids: UserIds) -> TransferResult:
    if isinstance(outcome, Problem):
        return TransferResult(outcome.status, error=outcome)
    assert isinstance(outcome.receipt, TransferReceipt)
    return TransferResult(200, transfer_of(outcome.receipt, user_ids), outcome.replayed)

"""POST /charge and POST /charges: put money into wallets."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta

from gateway.contract.bodies import BULK_BYTES_MAX, ITEMS_MAX, JSON, NDJSON
from gateway.contract.idempotency_keys import KEY_HEADER_DOC, REPLAYED_DOC
from gateway.contract.operation import READ_ERRORS, USER, WRITE_ERRORS, Operation, RequestBody, ResponseSpec
from gateway.contract.parameters import read_id
from gateway.contract.problems import Problem
from gateway.contract.request_models import ChargeRequest
from gateway.contract.responses import encode, encode_lines, encode_results
from gateway.contract.transaction_models import ChargeResult, ChargesResult, Transaction, transaction_of
from gateway.contract.transfer_models import ChargeNow, charge_of
from gateway.contract.user_ids import UserIds
from gateway.routes.bulk import counts, require_some, submit_all
from gateway.routes.replays import answer
from gateway.services import Services
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request, is_ndjson, key_header, wants
from gateway.wire.request_reader import RequestReader
from gateway.wire.response import Response
from wallet.commands import Charge
from wallet.errors import ChargeNotFound, WalletError
from wallet.receipts import ChargeReceipt, Recorded
from wallet.scopes import Scope

# For the document only: the reader takes items one by one, so that a bad one harms no other.
_ChargeRequests = Annotated[
    list[ChargeRequest], Meta(title="ChargeRequests", min_length=1, max_length=ITEMS_MAX)
]


_EXAMPLE = {
    "user_id": USER,
    "amount": 5000,
    "idempotency_key": "tour-charge-1",
    "metadata": {"order": 7001},
}
_EXAMPLE_LOCKED = {
    "user_id": USER,
    "amount": 2500,
    "idempotency_key": "tour-charge-2",
    "release_at": "2100-01-01T00:00:00Z",
}
_EXAMPLE_OTHER = {"user_id": USER + 1, "amount": 900, "idempotency_key": "tour-charge-3"}
_EXAMPLE_RESPONSE: dict[str, Any] = {
    "id": "0199d3c0-7e1a-7c3e-8000-2d1f6b7a9c01",
    "type": "charge",
    "user_id": USER,
    "currency": "USD",
    "amount": 5000,
    "status": "completed",
    "release_at": None,
    "metadata": {"order": 7001},
    "created_at": "2026-11-22T12:00:00.123456Z",
}
_EXAMPLE_RESULTS = [
    {
        **_EXAMPLE_RESPONSE,
        "id": "0199d3c0-7f30-7b52-8000-91c2e4a7d702",
        "amount": 2500,
        "release_at": "2100-01-01T00:00:00Z",
        "metadata": None,
        "created_at": "2026-11-22T12:00:00.323456Z",
    },
    {
        **_EXAMPLE_RESPONSE,
        "id": "0199d3c0-7f30-7d11-8000-3f5a0c6be803",
        "user_id": USER + 1,
        "amount": 900,
        "metadata": None,
        "created_at": "2026-11-22T12:00:00.323456Z",
    },
]

CHARGE = Operation(
    "POST",
    "/charge",
    "Charges",
    "Put money into a wallet",
    description="The wallet comes into being with its first charge. Answered once it is on disk.",
    headers={"Idempotency-Key": KEY_HEADER_DOC},
    id="createCharge",
    body=RequestBody({JSON: (ChargeRequest, _EXAMPLE)}),
    responses={
        200: ResponseSpec(
            "It took effect.",
            Transaction,
            _EXAMPLE_RESPONSE,
            headers=REPLAYED_DOC,
            gives={"charge_id": "id"},
        )
    },
    errors=(
        *WRITE_ERRORS,
        "idempotency_key_reused",
        "idempotency_key_archived",
        "amount_limit_exceeded",
        "balance_limit_exceeded",
        "open_locks_limit_exceeded",
    ),
    scope=Scope.CHARGE,
)

CHARGES = Operation(
    "POST",
    "/charges",
    "Charges",
    f"Put money into many wallets, up to {ITEMS_MAX} charges at once",
    description="Each item carries its own key and has its own result, in the order of the request; a bad "
    "one harms no other. A JSON array, or one charge per line (NDJSON). Results come one per line if you accept "
    f"`{NDJSON}`.",
    id="createCharges",
    body=RequestBody(
        {
            JSON: (_ChargeRequests, [_EXAMPLE_LOCKED, _EXAMPLE_OTHER]),
            NDJSON: (None, [_EXAMPLE_LOCKED, _EXAMPLE_OTHER]),
        },
        bytes_max=BULK_BYTES_MAX,
    ),
    responses={
        200: ResponseSpec(
            "One result per item.",
            ChargesResult,
            {"results": [{"status": 200, "transaction": result} for result in _EXAMPLE_RESULTS]},
            media_types=(JSON, NDJSON),
        )
    },
    errors=WRITE_ERRORS,
    scope=Scope.CHARGE,
)

CHARGE_BY_ID = Operation(
    "GET",
    "/charges/{charge_id}",
    "Charges",
    "A charge, and how much of it was reversed",
    id="getCharge",
    examples={"charge_id": _EXAMPLE_RESPONSE["id"]},
    path_parameters={"charge_id": "As `POST /charge` gave it."},
    responses={200: ResponseSpec("As it is now.", ChargeNow, {**_EXAMPLE_RESPONSE, "reversed": 0})},
    errors=(*READ_ERRORS, "charge_not_found"),
    scope=Scope.READ,
)

NOOP = Operation(
    "POST",
    "/noop",
    "Benchmark",
    "Validate a charge, answer as if it took effect, and do nothing",
    id="checkCharge",
    body=CHARGE.body,
    responses={200: ResponseSpec("Nothing happened.", Transaction)},
    documented=False,
    scope=Scope.CHARGE,
)
_NOOP_ID = UUID(_EXAMPLE_RESPONSE["id"])


class ChargeRoutes:
    """Serves the charges, and the benchmark's yardstick."""

    def __init__(self, services: Services) -> None:
        self._requests = services.requests
        self._user_ids = services.user_ids
        self._submit = services.intake.submit
        self._reads = services.reads
        self._limiter = services.limiter
        self._bench = bool(services.settings.bench)
        self._noop_at = datetime.now(UTC)

    def register(self, endpoints: Endpoints) -> None:
        """Add the endpoints."""
        endpoints.add(CHARGE, self.charge)
        endpoints.add(CHARGES, self.charges)
        endpoints.add(CHARGE_BY_ID, self.charge_by_id)
        if self._bench:
            endpoints.add(NOOP, self.noop)

    async def charge(self, request: Request, caller: Caller) -> Response:
        """Put money into a wallet."""
        command = self._requests.charge(request.body, caller, key_header(request))
        recorded = await self._submit(command)
        receipt = recorded.receipt
        assert isinstance(receipt, ChargeReceipt)
        return answer(encode(transaction_of(receipt, self._user_ids)), recorded)

    async def charges(self, request: Request, caller: Caller) -> Response:
        """Put money into many wallets: one result per charge."""
        commands = await _commands(self._requests, request, caller)
        if self._limiter is not None:
            self._limiter.take(caller.name, len(commands) - 1, taken=1)
        outcomes = await submit_all(self._submit, commands)
        results = [_result_of(outcome, self._user_ids) for outcome in outcomes]
        if wants(request, NDJSON):
            response = Response(encode_lines(results), content_type=NDJSON)
        else:
            response = Response(encode_results(results))
        response.wrote = counts(outcomes)
        return response

    async def charge_by_id(self, request: Request, caller: Caller, charge_id: str) -> Response:
        """Return a charge as it is now."""
        id = read_id(charge_id, ChargeNotFound("no such charge"))
        found = await self._reads.charge(id)
        if not caller.owns(found.receipt.user_id):
            raise ChargeNotFound("no such charge")
        return Response(encode(charge_of(found.receipt, self._user_ids, found.reversed)))

    async def noop(self, request: Request, caller: Caller) -> Response:
        """Do everything that a charge does, but for the ledger."""
        command = self._requests.charge(request.body, caller, key_header(request))
        receipt = ChargeReceipt(
            _NOOP_ID,
            command.user_id,
            command.currency,
            command.amount,
            command.release_at,
            command.metadata,
            self._noop_at,
        )
        return Response(encode(transaction_of(receipt, self._user_ids)))


async def _commands(
    reader: RequestReader, request: Request, caller: Caller
) -> Sequence[Charge | WalletError]:
    read = reader.charge_lines if is_ndjson(request) else reader.charges
    commands = await read(request.body, caller)
    require_some(commands)
    return commands


def _result_of(outcome: Recorded | Problem, user_ids: UserIds) -> ChargeResult:
    if isinstance(outcome, Problem):
        return ChargeResult(outcome.status, error=outcome)
    assert isinstance(outcome.receipt, ChargeReceipt)
    return ChargeResult(200, transaction_of(outcome.receipt, user_ids), outcome.replayed)

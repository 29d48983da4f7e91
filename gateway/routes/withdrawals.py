"""POST /withdraw; GET a withdrawal; POST to cancel it."""

from typing import Any
from uuid import UUID

from db.reads import WithdrawalView
from gateway.contract.bodies import JSON
from gateway.contract.idempotency_keys import KEY_HEADER_DOC
from gateway.contract.operation import READ_ERRORS, USER, WRITE_ERRORS, Operation, RequestBody, ResponseSpec
from gateway.contract.parameters import ParameterReader, WithdrawalQuery, read_id
from gateway.contract.request_models import WithdrawRequest
from gateway.contract.response_models import AcceptedWithdrawal, Withdrawal
from gateway.contract.responses import accepted_of, encode, withdrawal_of
from gateway.routes.replays import written
from gateway.services import Services
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request, key_header
from gateway.wire.response import Response
from runtime.telemetry import IDEMPOTENT_REPLAYS
from runtime.trail import trail
from wallet.commands import CLIENT
from wallet.errors import WithdrawalNotFound
from wallet.receipts import WithdrawReceipt
from wallet.scopes import Scope
from wallet.traces import trace_of
from wallet.withdrawal import END_STATES, Status

POLL_AFTER = {"retry-after": "1"}
"""Seconds after which a client should ask again for a withdrawal that has not ended."""

_ID = "0199d3c0-8b2f-7d10-8000-5be1c0ffee01"
_EXAMPLE = {
    "user_id": USER,
    "amount": 1200,
    "idempotency_key": "tour-withdrawal-1",
    "destination": {"iban": "DE89370400440532013000"},
}
_ACCEPTED = {
    "withdrawal_id": _ID,
    "status": "pending",
    "status_url": f"/withdrawals/{_ID}",
    "user_id": USER,
    "currency": "USD",
    "amount": 1200,
    "destination": {"iban": "DE89370400440532013000"},
    "metadata": None,
    "created_at": "2026-11-22T12:00:01.123456Z",
}
_COMPLETED: dict[str, Any] = {
    **_ACCEPTED,
    "status": "completed",
    "updated_at": "2026-11-22T12:00:01.623456Z",
    "attempts": 1,
    "next_attempt_at": None,
    "failure": None,
    "reference": "4d5fd96b0bcd8f7f8a3f1e2c6b9d0a11",
    "bank_reference": "po_7f3a",
    "history": [
        {
            "status": "pending",
            "at": "2026-11-22T12:00:01.123456Z",
            "reason": "funds reserved",
            "by": "client:shop",
        },
        {
            "status": "processing",
            "at": "2026-11-22T12:00:01.3Z",
            "reason": "the bank is about to be called",
            "by": "actor",
        },
        {
            "status": "completed",
            "at": "2026-11-22T12:00:01.623456Z",
            "reason": "the bank paid",
            "by": "actor",
        },
    ],
}
_CANCELLED = {
    **_COMPLETED,
    "status": "cancelled",
    "attempts": 0,
    "bank_reference": None,
    "history": [
        _COMPLETED["history"][0],
        {
            "status": "cancelled",
            "at": "2026-11-22T12:00:01.623456Z",
            "reason": "cancelled by the client",
            "by": "client:shop",
        },
    ],
}
RETRY_DOC = {"Retry-After": "Seconds after which it is worth asking again. Not there once it has ended."}
_ID_DOC = {"withdrawal_id": "As `POST /withdraw` gave it."}

WITHDRAW = Operation(
    "POST",
    "/withdraw",
    "Withdrawals",
    "Take money out of a wallet, through the bank",
    description="Reserves the money (`held`) and answers at once; the bank is called later. Ask `status_url` "
    "how it goes on.",
    id="createWithdrawal",
    headers={
        "Idempotency-Key": KEY_HEADER_DOC,
        "traceparent": "W3C Trace Context: the bank is called, and webhooks are sent, in this trace.",
    },
    traced=True,
    body=RequestBody({JSON: (WithdrawRequest, _EXAMPLE)}),
    responses={
        202: ResponseSpec(
            "Accepted: the money is reserved.",
            AcceptedWithdrawal,
            _ACCEPTED,
            gives={"withdrawal_id": "withdrawal_id"},
            headers={
                "Location": "Where to ask how it goes on.",
                "Retry-After": "Seconds after which it is worth asking.",
                "Idempotent-Replayed": "`true` if this is the answer to an earlier request with this key.",
            },
        )
    },
    errors=(
        *WRITE_ERRORS,
        "wallet_not_found",
        "idempotency_key_reused",
        "idempotency_key_archived",
        "amount_limit_exceeded",
        "insufficient_funds",
    ),
    scope=Scope.WITHDRAW,
)

WITHDRAWAL = Operation(
    "GET",
    "/withdrawals/{withdrawal_id}",
    "Withdrawals",
    "How a withdrawal goes on",
    id="getWithdrawal",
    query=WithdrawalQuery,
    examples={"withdrawal_id": _ID},
    path_parameters=_ID_DOC,
    responses={200: ResponseSpec("As it is now.", Withdrawal, _COMPLETED, headers=RETRY_DOC)},
    errors=(*READ_ERRORS, "withdrawal_not_found", "validation_failed"),
    scope=Scope.READ,
)

CANCEL = Operation(
    "POST",
    "/withdrawals/{withdrawal_id}/cancel",
    "Withdrawals",
    "Cancel a withdrawal that the bank was not called for yet",
    description="Either it is cancelled and never paid, or the answer is 409. Cancelling again changes "
    "nothing. While the bank can be reached, it is called within milliseconds, and the answer is 409.",
    id="cancelWithdrawal",
    examples={"withdrawal_id": _ID},
    path_parameters=_ID_DOC,
    responses={200: ResponseSpec("Cancelled; the money is withdrawable again.", Withdrawal, _CANCELLED)},
    errors=(
        "unauthorized",
        "forbidden",
        "withdrawal_not_found",
        "illegal_move",
        "not_cancellable",
        "rate_limited",
        "internal_error",
        "overloaded",
        "unavailable",
    ),
    scope=Scope.CANCEL,
)

_MOVING = (Status.PENDING, Status.PROCESSING)
"""A withdrawal leaves the other states only when an operator or the bank does something."""


class WithdrawalRoutes:
    """Serves the withdrawals."""

    def __init__(self, services: Services) -> None:
        self._requests = services.requests
        self._user_ids = services.user_ids
        self._submit = services.intake.submit
        self._withdrawals = services.withdrawals
        self._reads = services.reads
        self._long_poll = services.long_poll
        self._parameters = ParameterReader(WithdrawalQuery, services.user_ids)

    def register(self, endpoints: Endpoints) -> None:
        """Add the endpoints."""
        endpoints.add(WITHDRAW, self.withdraw)
        endpoints.add(WITHDRAWAL, self.withdrawal)
        endpoints.add(CANCEL, self.cancel)

    async def withdraw(self, request: Request, caller: Caller) -> Response:
        """Accept a withdrawal: reserve its money. The bank is called later."""
        trace = trace_of(request.ctx.request_id, request.headers.get("traceparent"))
        command = self._requests.withdraw(request.body, caller, key_header(request), trace)
        recorded = await self._submit(command)
        receipt = recorded.receipt
        assert isinstance(receipt, WithdrawReceipt)
        accepted = accepted_of(receipt, self._user_ids)
        extra = {"location": accepted.status_url, **POLL_AFTER}
        if recorded.replayed:
            IDEMPOTENT_REPLAYS.inc()
            extra["idempotent-replayed"] = "true"
        else:
            trail.note("accepted", withdrawal_id=receipt.id, user_id=receipt.user_id)
        response = Response(encode(accepted), 202, extra=extra)
        response.wrote = written(receipt, recorded.replayed, "withdrawal_id")
        return response

    async def withdrawal(self, request: Request, caller: Caller, withdrawal_id: str) -> Response:
        """Return a withdrawal as it is now, or when it has ended."""
        query = self._parameters.read(request.query_string)
        found = await self._own(_id(withdrawal_id), caller)
        return await self._ended_or_late(found, query.wait, caller)

    async def by_key(self, caller: Caller, key: str, wait_s: float) -> Response:
        """Return the withdrawal that was made with an idempotency key, as it is now, or when it has ended."""
        found = _owned(await self._reads.withdrawal_by_key(caller.space, key), caller)
        return await self._ended_or_late(found, wait_s, caller)

    async def cancel(self, request: Request, caller: Caller, withdrawal_id: str) -> Response:
        """Cancel a withdrawal, if the bank was not called for it yet."""
        id = _id(withdrawal_id)
        if caller.user_prefix is not None:
            await self._own(id, caller)
        await self._withdrawals.cancel(id, CLIENT if caller.name is None else f"{CLIENT}:{caller.name}")
        response = self._response(await self._reads.withdrawal(id))
        response.wrote = {"withdrawal_id": id}
        return response

    async def _own(self, id: UUID, caller: Caller) -> WithdrawalView:
        """Return a withdrawal of the caller's. Raises WithdrawalNotFound: another's is as if it were not there."""
        return _owned(await self._reads.withdrawal(id), caller)

    async def _ended_or_late(self, found: WithdrawalView, wait_s: float, caller: Caller) -> Response:
        """Respond once the withdrawal has ended, after `wait_s` at the latest."""
        if wait_s and found.status in _MOVING:
            await self._long_poll.wait(found.id, wait_s, caller.name)
            found = await self._reads.withdrawal(found.id)
        return self._response(found)

    def _response(self, view: WithdrawalView) -> Response:
        ended = view.status in END_STATES
        return Response(encode(withdrawal_of(view, self._user_ids)), extra=None if ended else POLL_AFTER)


def _id(text: str) -> UUID:
    """Return the identifier in the path. Raises WithdrawalNotFound: any other text names no withdrawal."""
    return read_id(text, WithdrawalNotFound("no such withdrawal"))


def _owned(view: WithdrawalView, caller: Caller) -> WithdrawalView:
    if not caller.owns(view.user_id):
        raise WithdrawalNotFound("no such withdrawal")
    return view

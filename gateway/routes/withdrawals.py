"""POST /withdraw and what can be asked of a withdrawal: how it goes on, and to be cancelled."""

from uuid import UUID

from db.reads import WithdrawalView
from gateway.contract.bodies import JSON
from gateway.contract.idempotency_keys import KEY_HEADER_DOC
from gateway.contract.operation import READ_ERRORS, WRITE_ERRORS, Operation, RequestBody, ResponseSpec
from gateway.contract.parameters import QueryReader, WithdrawalByKeyQuery, WithdrawalQuery, read_uuid
from gateway.contract.request_models import WithdrawRequest
from gateway.contract.response_models import (
    AcceptedWithdrawal,
    Withdrawal,
    accepted_of,
    encode,
    withdrawal_of,
)
from gateway.services import Services
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request, json_body, key_header
from gateway.wire.response import Response
from runtime.telemetry import IDEMPOTENT_REPLAYS
from wallet.commands import CLIENT
from wallet.decide import WithdrawReceipt
from wallet.errors import WithdrawalNotFound
from wallet.withdrawal import END_STATES, Status

POLL_AFTER = {"retry-after": "1"}
"""Seconds after which it is worth asking again for a withdrawal that has not ended."""

_ID = "0199d3c0-8b2f-7d10-8000-5be1c0ffee01"
_EXAMPLE = {
    "user_id": 42,
    "amount": 400,
    "idempotency_key": "payout-9001",
    "destination": {"iban": "DE89370400440532013000"},
}
_ACCEPTED = {
    "withdrawal_id": _ID,
    "status": "pending",
    "status_url": f"/withdrawals/{_ID}",
    "user_id": 42,
    "currency": "USD",
    "amount": 400,
    "destination": {"iban": "DE89370400440532013000"},
    "metadata": None,
    "created_at": "2026-11-22T12:00:01.123456Z",
}
_COMPLETED = {
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
_RETRY_DOC = {"Retry-After": "Seconds after which it is worth asking again. Not there once it has ended."}
_ID_DOC = {"withdrawal_id": "As `POST /withdraw` gave it."}

WITHDRAW = Operation(
    "POST",
    "/withdraw",
    "Withdrawals",
    "Take money out of a wallet, through the bank",
    description="Reserves the money (`held`) and answers at once; the bank is called later. Ask `status_url` "
    "how it goes on.",
    headers={"Idempotency-Key": KEY_HEADER_DOC},
    body=RequestBody({JSON: (WithdrawRequest, _EXAMPLE)}),
    responses={
        202: ResponseSpec(
            "Accepted: the money is reserved.",
            AcceptedWithdrawal,
            _ACCEPTED,
            headers={
                "Location": "Where to ask how it goes on.",
                "Retry-After": "Seconds after which it is worth asking.",
                "Idempotent-Replayed": "`true` if this is the answer to an earlier request with this key.",
            },
        )
    },
    errors=(*WRITE_ERRORS, "idempotency_key_reused", "insufficient_funds"),
    writes=True,
)

WITHDRAWAL = Operation(
    "GET",
    "/withdrawals/{withdrawal_id}",
    "Withdrawals",
    "How a withdrawal goes on",
    query=WithdrawalQuery,
    path_parameters=_ID_DOC,
    responses={200: ResponseSpec("As it is now.", Withdrawal, _COMPLETED, headers=_RETRY_DOC)},
    errors=(*READ_ERRORS, "withdrawal_not_found", "validation_failed"),
)

WITHDRAWAL_BY_KEY = Operation(
    "GET",
    "/withdrawals",
    "Withdrawals",
    "Find a withdrawal by its idempotency key",
    description="For when the answer to `POST /withdraw` was lost. Only keys of your own space.",
    query=WithdrawalByKeyQuery,
    responses={200: ResponseSpec("As it is now.", Withdrawal, _COMPLETED, headers=_RETRY_DOC)},
    errors=(*READ_ERRORS, "withdrawal_not_found", "validation_failed"),
)

CANCEL = Operation(
    "POST",
    "/withdrawals/{withdrawal_id}/cancel",
    "Withdrawals",
    "Cancel a withdrawal that the bank was not called for yet",
    description="Either it is cancelled and never paid, or the answer is 409. Cancelling again changes "
    "nothing.",
    path_parameters=_ID_DOC,
    responses={
        200: ResponseSpec(
            "Cancelled; the money is withdrawable again.", Withdrawal, {**_COMPLETED, "status": "cancelled"}
        )
    },
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
    writes=True,
)

_MOVING = (Status.PENDING, Status.PROCESSING)
"""From the other states a withdrawal goes on only when an operator or the bank does something."""


def register(endpoints: Endpoints, services: Services) -> None:
    """Serve the withdrawals."""
    reader, reads, watcher = services.requests, services.reads, services.watcher
    by_id, by_key = QueryReader(WithdrawalQuery), QueryReader(WithdrawalByKeyQuery)

    async def withdraw(request: Request, caller: Caller) -> Response:
        command = reader.withdraw(json_body(request), caller, key_header(request))
        recorded = await services.ledger.submit(command)
        receipt = recorded.receipt
        assert isinstance(receipt, WithdrawReceipt)
        answer = accepted_of(receipt)
        extra = {"location": answer.status_url, **POLL_AFTER}
        if recorded.replayed:
            IDEMPOTENT_REPLAYS.inc()
            extra["idempotent-replayed"] = "true"
        return Response(encode(answer), 202, extra=extra)

    async def withdrawal(request: Request, caller: Caller, withdrawal_id: str) -> Response:
        query = by_id.read(request.query_string)
        return await _answer_in_time(await reads.withdrawal(_id(withdrawal_id)), query.wait)

    async def withdrawal_by_key(request: Request, caller: Caller) -> Response:
        query = by_key.read(request.query_string)
        return await _answer_in_time(await reads.withdrawal_by_key(caller.space, query.key()), query.wait)

    async def _answer_in_time(found: WithdrawalView, wait_s: float) -> Response:
        if wait_s and found.status in _MOVING:
            await watcher.wait(found.id, wait_s)
            found = await reads.withdrawal(found.id)
        return _answer(found)

    async def cancel(request: Request, caller: Caller, withdrawal_id: str) -> Response:
        id = _id(withdrawal_id)
        await services.withdrawals.cancel(id, CLIENT if caller.name is None else f"{CLIENT}:{caller.name}")
        return _answer(await reads.withdrawal(id))

    endpoints.add(WITHDRAW, withdraw)
    endpoints.add(WITHDRAWAL, withdrawal)
    endpoints.add(WITHDRAWAL_BY_KEY, withdrawal_by_key)
    endpoints.add(CANCEL, cancel)


def _id(text: str) -> UUID:
    """Return the identifier in the path. Raises WithdrawalNotFound: what is no identifier names nothing."""
    id = read_uuid(text)
    if id is None:
        raise WithdrawalNotFound("no such withdrawal")
    return id


def _answer(view: WithdrawalView) -> Response:
    ended = view.status in END_STATES
    return Response(encode(withdrawal_of(view)), extra=None if ended else POLL_AFTER)

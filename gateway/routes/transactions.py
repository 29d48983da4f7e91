"""GET /transactions: the charges and withdrawals of a wallet, newest first."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from uuid import UUID

from gateway.contract.operation import READ_ERRORS, USER, Operation, ResponseSpec
from gateway.contract.parameters import OFFSET_MAX, ParameterReader, TransactionsQuery
from gateway.contract.response_models import TransactionsPage
from gateway.contract.responses import encode, transaction_of_row
from gateway.services import Services
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request
from gateway.wire.response import Response
from wallet.errors import ValidationFailed
from wallet.scopes import Scope

_EXAMPLE = {
    "transactions": [
        {
            "id": "0199d3c0-8b2f-7d10-8000-5be1c0ffee01",
            "type": "withdrawal",
            "user_id": USER,
            "currency": "USD",
            "amount": -1200,
            "status": "completed",
            "release_at": None,
            "metadata": None,
            "created_at": "2026-11-22T12:00:01.123456Z",
        },
        {
            "id": "0199d3c0-7f30-7b52-8000-91c2e4a7d702",
            "type": "charge",
            "user_id": USER,
            "currency": "USD",
            "amount": 2500,
            "status": "completed",
            "release_at": "2100-01-01T00:00:00Z",
            "metadata": None,
            "created_at": "2026-11-22T12:00:00.323456Z",
        },
        {
            "id": "0199d3c0-7e1a-7c3e-8000-2d1f6b7a9c01",
            "type": "charge",
            "user_id": USER,
            "currency": "USD",
            "amount": 5000,
            "status": "completed",
            "release_at": None,
            "metadata": {"order": 7001},
            "created_at": "2026-11-22T12:00:00.123456Z",
        },
    ],
    "total": 3,
    "page": 1,
    "limit": 20,
    "next_cursor": None,
}

TRANSACTIONS = Operation(
    "GET",
    "/transactions/{user_id}",
    "Transactions",
    "The charges and withdrawals of a wallet, newest first",
    description="Charges are positive, withdrawals negative with their present status. Go on with "
    "`next_cursor` as `cursor`: that costs the same however deep, and nothing is missed or doubled when new "
    f"ones come. `page` reaches the first {OFFSET_MAX}.",
    id="listTransactions",
    query=TransactionsQuery,
    responses={200: ResponseSpec("A page.", TransactionsPage, _EXAMPLE)},
    errors=(*READ_ERRORS, "wallet_not_found", "validation_failed"),
    scope=Scope.READ,
)
TRANSACTIONS_BY_QUERY = replace(
    TRANSACTIONS,
    id="findTransactions",
    path="/transactions",
    summary="The charges and withdrawals of a wallet (the same, other spelling)",
)


class TransactionRoutes:
    """Serves the transactions of wallets."""

    def __init__(self, services: Services) -> None:
        self._parameters = ParameterReader(TransactionsQuery, services.user_ids)
        self._user_ids = services.user_ids
        self._reads = services.reads
        self._currency_to_read = services.intake.currency_to_read

    def register(self, endpoints: Endpoints) -> None:
        """Add the endpoints."""
        endpoints.add(TRANSACTIONS, self.transactions)
        endpoints.add(TRANSACTIONS_BY_QUERY, self.transactions)

    async def transactions(self, request: Request, caller: Caller, **path: str) -> Response:
        """Return a page of a wallet's transactions, newest first."""
        query = self._parameters.read(request.query_string, **path)
        caller.require_own(query.user_id)
        before, page = _position(query)
        currency = await self._currency_to_read(query.user_id, query.currency)
        skip = 0 if page is None else (page - 1) * query.limit
        found = await self._reads.transactions(query.user_id, currency, query.limit, before, skip)
        items = [transaction_of_row(row, query.user_id, currency, self._user_ids) for row in found.items]
        next_cursor = cursor_of(found.items[-1].id) if found.more else None
        return Response(encode(TransactionsPage(items, found.total, page, query.limit, next_cursor)))


def _position(query: TransactionsQuery) -> tuple[UUID | None, int | None]:
    """Return (id of the transaction before the page, None) or (None, the page's number). Raises ValidationFailed."""
    if query.cursor is not None:
        if query.page is not None:
            raise ValidationFailed([("page", "can't be given together with cursor")])
        return read_cursor(query.cursor), None
    page = query.page or 1
    if page * query.limit > OFFSET_MAX:
        raise ValidationFailed([("page", f"page × limit must be at most {OFFSET_MAX}; go on with cursor")])
    return None, page


def cursor_of(last: UUID) -> str:
    """Return the cursor of the page that begins after this transaction. Opaque to clients."""
    return urlsafe_b64encode(last.bytes).rstrip(b"=").decode()


def read_cursor(cursor: str) -> UUID:
    """Return the transaction after which a cursor's page begins. Raises ValidationFailed."""
    try:
        last = UUID(bytes=urlsafe_b64decode(cursor + "=="))
    except ValueError:
        last = None
    if last is None or cursor_of(last) != cursor:
        raise ValidationFailed([("cursor", "is not a next_cursor of ours")])
    return last

"""GET /transactions: the charges and withdrawals of a wallet, newest first."""

from dataclasses import replace

from gateway.contract.cursors import cursor_of
from gateway.contract.list_parameters import TransactionsQuery
from gateway.contract.operation import READ_ERRORS, USER, Operation, ResponseSpec
from gateway.contract.parameters import OFFSET_MAX, ParameterReader
from gateway.contract.responses import encode
from gateway.contract.transaction_models import TransactionsPage, transaction_of_row
from gateway.services import Services
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request
from gateway.wire.response import Response
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
    "`next_cursor` as `cursor`, until it is null: that costs the same however deep, and nothing is missed or doubled "
    "when new ones come. A page may have fewer than `limit` though more follow. `page` reaches the first "
    f"{OFFSET_MAX}, without a filter.",
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
        query.check()
        currency = await self._currency_to_read(query.user_id, query.currency)
        page = None if query.is_filtered else query.page or 1
        found = await self._reads.transactions(
            (query.user_id, currency),
            query.span(),
            query.limit,
            None if page is None else (page - 1) * query.limit,
            "reserve" if query.type == "withdrawal" else query.type,
            query.status,
        )
        user_id = self._user_ids.back(query.user_id)
        items = [transaction_of_row(row, user_id, currency) for row in found.items]
        next_cursor = None if found.next is None else cursor_of(found.next)
        return Response(encode(TransactionsPage(items, found.total, page, query.limit, next_cursor)))

"""GET /balance: the split of a wallet."""

from dataclasses import replace

from sanic import Request

from gateway.answers import Balance, encode, user_id_back
from gateway.auth import Caller
from gateway.endpoint import Endpoints
from gateway.http import Answer
from gateway.operation import READ_ERRORS, Given, Operation
from gateway.queries import BalanceQuery, QueryReader
from gateway.services import Services

BALANCE = Operation(
    "GET",
    "/balance/{user_id}",
    "Balances",
    "The split of a wallet",
    description="`total = withdrawable + locked + held`. What has matured is withdrawable from its very "
    "instant. A user that nothing was ever charged to has zeros.",
    query=BalanceQuery,
    answers={
        200: Given(
            "As it is now.",
            Balance,
            {"user_id": 42, "currency": "USD", "total": 3100, "withdrawable": 600, "locked": 2500, "held": 0},
        )
    },
    errors=(*READ_ERRORS, "validation_failed"),
)
BALANCE_BY_QUERY = replace(
    BALANCE, path="/balance", summary="The split of a wallet (the same, other spelling)"
)


def register(endpoints: Endpoints, services: Services) -> None:
    """Serve the balances."""
    reader, reads = QueryReader(BalanceQuery), services.reads
    default_currency = services.settings.default_currency

    async def balance(request: Request, caller: Caller, **path: str) -> Answer:
        query = reader.read(request.query_string, **path)
        found = await reads.balance(query.user_id, query.currency or default_currency)
        return Answer(encode(Balance(user_id_back(found.user_id), *found[1:])))

    endpoints.add(BALANCE, balance)
    endpoints.add(BALANCE_BY_QUERY, balance)

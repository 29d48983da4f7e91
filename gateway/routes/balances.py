"""GET /balance: the split of a wallet."""

from dataclasses import replace

from gateway.contract.operation import READ_ERRORS, USER, Operation, ResponseSpec
from gateway.contract.parameters import BalanceQuery, ParameterReader
from gateway.contract.response_models import Balance
from gateway.contract.responses import balance_of, encode
from gateway.services import Services
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request
from gateway.wire.response import Response
from wallet.scopes import Scope

BALANCE = Operation(
    "GET",
    "/balance/{user_id}",
    "Balances",
    "The split of a wallet",
    description="`total = withdrawable + locked + held`. What has matured is withdrawable from its very "
    "instant. A user that nothing was ever charged to has zeros.",
    id="getBalance",
    query=BalanceQuery,
    responses={
        200: ResponseSpec(
            "As it is now.",
            Balance,
            {
                "user_id": USER,
                "currency": "USD",
                "total": 7500,
                "withdrawable": 5000,
                "locked": 2500,
                "held": 0,
            },
        )
    },
    errors=(*READ_ERRORS, "wallet_not_found", "validation_failed"),
    scope=Scope.READ,
)
BALANCE_BY_QUERY = replace(
    BALANCE, id="findBalance", path="/balance", summary="The split of a wallet (the same, other spelling)"
)


class BalanceRoutes:
    """Serves the balances."""

    def __init__(self, services: Services) -> None:
        self._parameters = ParameterReader(BalanceQuery, services.user_ids)
        self._user_ids = services.user_ids
        self._reads = services.reads
        self._currency_to_read = services.intake.currency_to_read

    def register(self, endpoints: Endpoints) -> None:
        """Add the endpoints."""
        endpoints.add(BALANCE, self.balance)
        endpoints.add(BALANCE_BY_QUERY, self.balance)

    async def balance(self, request: Request, caller: Caller, **path: str) -> Response:
        """Return the split of a wallet."""
        query = self._parameters.read(request.query_string, **path)
        caller.require_own(query.user_id)
        currency = await self._currency_to_read(query.user_id, query.currency)
        found = await self._reads.balance(query.user_id, currency)
        return Response(encode(balance_of(found, self._user_ids)))

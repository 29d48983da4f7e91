"""GET /currencies: what money is taken."""

from gateway.contract.operation import READ_ERRORS, Operation, ResponseSpec
from gateway.contract.parameters import NoQuery, ParameterReader
from gateway.contract.response_models import Currency, CurrencyList
from gateway.contract.responses import encode
from gateway.services import Services
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request
from gateway.wire.response import Response
from wallet.scopes import Scope

CURRENCIES = Operation(
    "GET",
    "/currencies",
    "Currencies",
    "The currencies that are taken",
    description="`exponent` is the number of decimal places: with 2, an amount of 1234 is 12.34; with 0, it is 1,234. "
    "All else is refused, but that a wallet in a currency which was taken once can still be read and withdrawn from.",
    id="listCurrencies",
    responses={
        200: ResponseSpec(
            "All of them, by code.",
            CurrencyList,
            {
                "currencies": [
                    {"code": "JPY", "exponent": 0},
                    {"code": "PTS", "exponent": 0},
                    {"code": "USD", "exponent": 2},
                ],
                "default": "USD",
            },
        )
    },
    errors=(*READ_ERRORS, "validation_failed"),
    scope=Scope.READ,
)


class CurrencyRoutes:
    """Serves the list of currencies, which changes only with the settings."""

    def __init__(self, services: Services) -> None:
        self._parameters = ParameterReader(NoQuery, services.user_ids)
        taken = services.intake.currencies
        listed = [Currency(code, exponent) for code, exponent in taken.exponents.items()]
        self._body = encode(CurrencyList(listed, taken.default))

    def register(self, endpoints: Endpoints) -> None:
        """Add the endpoint."""
        endpoints.add(CURRENCIES, self.currencies)

    async def currencies(self, request: Request, caller: Caller) -> Response:
        """Return the currencies that are taken."""
        self._parameters.read(request.query_string)
        return Response(self._body)

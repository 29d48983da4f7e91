"""GET, PUT, DELETE /operator/bank/faults: what goes wrong at the simulated bank. Only in development, without API keys.

A gateway talks to nothing else but the database. The browser can't ask the simulator itself: that is
another origin, which takes no orders from our pages.
"""

import asyncio
import urllib.error
import urllib.request

from gateway.contract.problems import PathNotFound
from gateway.routes.operator import operation
from gateway.services import Services
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request
from gateway.wire.response import Response
from runtime.address_rules import simulator_url
from wallet.errors import Unavailable

_TIMEOUT_S = 3.0
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))

GET = operation("GET", "/bank/faults", "showFaults", "What goes wrong at the simulated bank")
PUT = operation("PUT", "/bank/faults", "setFaults", "Have it go wrong")
DELETE = operation("DELETE", "/bank/faults", "healBank", "Heal it")


class FaultRoutes:
    """Passes the faults on."""

    def __init__(self, services: Services) -> None:
        settings = services.settings
        self._url = f"{settings.bank_url}/faults"
        self._is_simulator = settings.bank_url == simulator_url(settings.bank_port)

    def register(self, endpoints: Endpoints) -> None:
        """Add the endpoints."""
        endpoints.add(GET, self.faults)
        endpoints.add(PUT, self.faults)
        endpoints.add(DELETE, self.faults)

    async def faults(self, request: Request, caller: Caller) -> Response:
        """Pass the request on, and return the simulator's answer. Raises PathNotFound, Unavailable."""
        if not self._is_simulator or caller.name is not None:
            raise PathNotFound(
                "faults are for development: for a stack with the simulator and without API keys"
            )
        status, body = await asyncio.to_thread(self._pass_on, request.method, request.body)
        return Response(body, status)

    def _pass_on(self, method: str, body: bytes) -> tuple[int, bytes]:
        headers = {"content-type": "application/json"}
        asked = urllib.request.Request(self._url, body or None, headers, method=method)  # of a setting
        try:
            with _OPENER.open(asked, timeout=_TIMEOUT_S) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError as error:
            raise Unavailable(f"the simulator can't be reached: {error}", reason="bank_away") from error

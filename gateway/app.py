"""The composition root of a gateway process: settings in, a Sanic application out."""

from importlib.metadata import version
from itertools import count
from typing import Any

from sanic import Sanic

from gateway import console
from gateway.auth import Authenticator, RateLimiter
from gateway.body import BODY_BYTES_MAX
from gateway.endpoint import Endpoints
from gateway.router import LookUpRouter
from gateway.routes import balances, callbacks, charges, health, operations, pages, transactions, withdrawals
from gateway.services import Services
from runtime.settings import Settings

REQUEST_TIMEOUT_S = 15
"""For a request to arrive whole, so that nobody holds connections with requests that never end."""
RESPONSE_TIMEOUT_S = 60
"""Above the longest `wait`; everything else is bounded to less than 2 s by itself."""
KEEP_ALIVE_TIMEOUT_S = 75

_numbers = count(1)


def create_app(settings: Settings) -> Sanic[Any, Any]:
    """Return the application; `app.ctx.services` has to be started before the first request.
    `app.ctx.openapi` is its description.

    Raises SettingsError.
    """
    app: Sanic[Any, Any] = Sanic(
        f"wallet_gateway_{next(_numbers)}", router=LookUpRouter(), configure_logging=False
    )
    app.config.update(
        {
            "ACCESS_LOG": False,
            "AUTO_EXTEND": False,  # sanic-ext would add pages that load from CDNs
            "FALLBACK_ERROR_FORMAT": "json",
            "KEEP_ALIVE_TIMEOUT": KEEP_ALIVE_TIMEOUT_S,
            "MOTD": False,
            "REQUEST_MAX_SIZE": BODY_BYTES_MAX,  # where no body is expected; the others see to it themselves
            "REQUEST_TIMEOUT": REQUEST_TIMEOUT_S,
            "RESPONSE_TIMEOUT": RESPONSE_TIMEOUT_S,
        }
    )
    services = Services.make(settings)
    limiter = RateLimiter(settings.rate_limit_per_s) if settings.rate_limit_per_s else None
    endpoints = Endpoints(app, Authenticator(settings.api_keys), limiter, services.flusher)
    for group in (charges, withdrawals, balances, transactions, health, operations, callbacks):
        group.register(endpoints, services)
    console.register(endpoints)
    app.ctx.openapi = pages.register(endpoints, services, version("wallet-balance-split"))
    app.ctx.services = services
    return app

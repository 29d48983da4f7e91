"""The composition root of a gateway process: settings in, an application out."""

from importlib.metadata import version

from gateway.routes import (
    balances,
    callbacks,
    charges,
    console,
    health,
    metrics,
    pages,
    transactions,
    withdrawals,
)
from gateway.services import Services
from gateway.wire.application import Application, make_application
from gateway.wire.auth import Authenticator
from gateway.wire.endpoint import Endpoints
from gateway.wire.rate_limits import RateLimiter
from runtime.settings import Settings


def create_app(settings: Settings) -> Application:
    """Return the application. `app.ctx.services` has to be started before the first request;
    `app.ctx.openapi` is its OpenAPI document, as JSON.

    Raises SettingsError.
    """
    app = make_application(fast_path=bool(settings.fast_path))
    services = Services.make(settings)
    limiter = RateLimiter(settings.rate_limit_per_s) if settings.rate_limit_per_s else None
    endpoints = Endpoints(app, Authenticator(settings.api_keys), limiter, services.flusher)
    for group in (charges, withdrawals, balances, transactions, health, metrics, callbacks):
        group.register(endpoints, services)
    console.register(endpoints)
    app.ctx.openapi = pages.register(endpoints, services, version("wallet-balance-split"))
    app.ctx.services = services
    return app

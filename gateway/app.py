"""The composition root of a gateway process: settings in, an application out."""

from importlib.metadata import version

from gateway.routes.adjustments import AdjustmentRoutes
from gateway.routes.balances import BalanceRoutes
from gateway.routes.callbacks import CallbackRoutes
from gateway.routes.charges import ChargeRoutes
from gateway.routes.console import ConsoleRoutes
from gateway.routes.currencies import CurrencyRoutes
from gateway.routes.events import EventRoutes
from gateway.routes.health import HealthRoutes
from gateway.routes.health_gauges import HealthGauges
from gateway.routes.holds import HoldRoutes
from gateway.routes.lists import ListRoutes
from gateway.routes.metrics import MetricsRoutes
from gateway.routes.operator import OperatorRoutes
from gateway.routes.operator_actions import OperatorActionRoutes
from gateway.routes.operator_faults import FaultRoutes
from gateway.routes.pages import PageRoutes
from gateway.routes.reversals import ReversalRoutes
from gateway.routes.transactions import TransactionRoutes
from gateway.routes.transfers import TransferRoutes
from gateway.routes.wallets import WalletRoutes
from gateway.routes.webhooks import WebhookRoutes
from gateway.routes.withdrawals import WithdrawalRoutes
from gateway.services import Services
from gateway.wire.admission import Admission
from gateway.wire.application import Application, make_application
from gateway.wire.auth import Authenticator, Login
from gateway.wire.connection_limits import ConnectionLimits, TrustedProxies
from gateway.wire.endpoint import Endpoints
from gateway.wire.memory import MemoryBudget
from runtime.settings import Settings


def create_app(settings: Settings) -> Application:
    """Return the application. `app.ctx.services` has to be started before the first request;
    `app.ctx.openapi` is its OpenAPI document, as JSON.

    Raises SettingsError.
    """
    admission = Admission({settings.http_host, *settings.other_hosts}, settings.foreign_origins)
    proxies = TrustedProxies.from_setting(settings.trusted_proxies)
    limits = ConnectionLimits(settings.connections_max, settings.connections_per_address_max, proxies)
    memory = MemoryBudget(settings.buffers_mb_max * 2**20)
    app = make_application(admission, limits, memory, fast_path=bool(settings.fast_path))
    services = Services.make(settings)
    authenticator = Authenticator(
        Login(settings.auth),
        settings.http_host,
        services.api_keys,
        settings.metrics_token,
        services.wrong_keys,
        proxies,
    )
    endpoints = Endpoints(app, authenticator, services.limiter, services.flusher)
    # The order of the document: its examples tell a story.
    ChargeRoutes(services).register(endpoints)
    balances = BalanceRoutes(services)
    balances.register(endpoints)
    WalletRoutes(services, balances).register(endpoints)
    withdrawals = WithdrawalRoutes(services)
    withdrawals.register(endpoints)
    TransactionRoutes(services).register(endpoints)
    TransferRoutes(services).register(endpoints)
    HoldRoutes(services).register(endpoints)
    ReversalRoutes(services).register(endpoints)
    ListRoutes(services, withdrawals).register(endpoints)
    EventRoutes(services).register(endpoints)
    WebhookRoutes(services).register(endpoints)
    CurrencyRoutes(services).register(endpoints)
    health = HealthRoutes(services)
    health.register(endpoints)
    MetricsRoutes(services, HealthGauges(services.tasks, health.reporter)).register(endpoints)
    CallbackRoutes(services).register(endpoints)
    OperatorRoutes(services).register(endpoints)
    AdjustmentRoutes(services).register(endpoints)
    OperatorActionRoutes(services).register(endpoints)
    FaultRoutes(services).register(endpoints)
    ConsoleRoutes().register(endpoints)
    pages = PageRoutes(version("wallet-balance-split"), services.user_ids)
    pages.register(endpoints)  # last: it documents the others
    app.ctx.openapi = pages.document
    app.ctx.services = services
    return app

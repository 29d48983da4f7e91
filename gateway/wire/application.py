"""Sanic's application, set up as the gateway needs it, without any endpoint."""

from itertools import count
from typing import Any, TypeAlias

from sanic import Sanic
from sanic.router import Router

from gateway.wire.admission import Admission
from gateway.wire.checked_http import DISCARD_BYTES_MAX
from gateway.wire.connection_limits import ConnectionLimits
from gateway.wire.memory import MemoryBudget
from gateway.wire.router import LookUpRouter
from gateway.wire.unread import READ_S_MAX

REQUEST_TIMEOUT_S = 15
"""A request must have arrived within this time: no client holds a connection with a request that never ends."""
RESPONSE_TIMEOUT_S = 60
"""Longer than the longest `wait`; all other work has its own limits, below 2 s."""
KEEP_ALIVE_TIMEOUT_S = 75

Application: TypeAlias = Sanic[Any, Any]

_numbers = count(1)


def make_application(
    admission: Admission, connection_limits: ConnectionLimits, memory: MemoryBudget, *, fast_path: bool
) -> Application:
    """Return an application without endpoints. Without the fast path, Sanic's own router finds the routes."""
    app: Application = Sanic(
        f"wallet_gateway_{next(_numbers)}",
        router=LookUpRouter() if fast_path else Router(),
        configure_logging=False,
    )
    app.config.update(
        {
            "ACCESS_LOG": False,
            "AUTO_EXTEND": False,  # sanic-ext would add pages that load from CDNs
            "FALLBACK_ERROR_FORMAT": "json",
            "GRACEFUL_TCP_CLOSE_TIMEOUT": READ_S_MAX + 1,  # `UnreadResponses` cuts before
            "KEEP_ALIVE_TIMEOUT": KEEP_ALIVE_TIMEOUT_S,
            "MOTD": False,
            "REQUEST_MAX_SIZE": DISCARD_BYTES_MAX,  # of what nobody reads; endpoints have limits of their own
            "REQUEST_TIMEOUT": REQUEST_TIMEOUT_S,
            "RESPONSE_TIMEOUT": RESPONSE_TIMEOUT_S,
        }
    )
    app.ctx.admission = admission
    app.ctx.connection_limits = connection_limits
    app.ctx.memory = memory
    return app

"""Finds out who calls, and what the caller may do.

An API key has a name, which is recorded with everything that it writes, and its own rate limit. Its idempotency keys
are unique in its space.
"""

import hmac
from collections.abc import Callable
from enum import StrEnum
from time import monotonic
from typing import NamedTuple, Protocol

from sanic import Request

from db.api_keys import DEFAULT_SPACE, ApiKey
from gateway.contract.problems import Forbidden, Unauthorized
from gateway.wire.connection_limits import TrustedProxies
from gateway.wire.rate_limits import RateLimiter
from runtime.addresses import is_loopback
from runtime.telemetry import WRONG_KEYS, log
from runtime.throttle import Throttle
from wallet.errors import WalletNotFound
from wallet.scopes import Scope

WRONG_KEYS_BURST = 10
"""Wrong keys that one address may send before it has to wait: a client with an old key finds out by these."""
WRONG_KEYS_PER_S = 1.0


class Caller(NamedTuple):
    """Who sends a request, and what it may do."""

    name: str | None
    """The API key's; None while logins are off."""
    space: str
    """Idempotency keys are unique within it."""
    scopes: frozenset[Scope]
    user_prefix: str | None = None
    """It sees and moves only wallets of users whose ids begin so; None: all."""
    secret_hash: bytes = b""
    """Of the API key, whose name another one may have by and by; empty without a key."""

    @property
    def is_operator(self) -> bool:
        """Whether it may see what concerns all wallets together."""
        return Scope.OPERATE in self.scopes and self.user_prefix is None

    def owns(self, user_id: str) -> bool:
        """Tell whether this user's wallets are there for the caller."""
        return self.user_prefix is None or user_id.startswith(self.user_prefix)

    def require_own(self, user_id: str) -> None:
        """Raise WalletNotFound unless this user's wallets are there for the caller."""
        if not self.owns(user_id):
            raise WalletNotFound("no such wallet")


NOBODY = Caller(None, DEFAULT_SPACE, frozenset(Scope))
"""The caller of every request while logins are off."""

PROMETHEUS = Caller("prometheus", DEFAULT_SPACE, frozenset({Scope.METRICS}))
"""Whoever has WBS_METRICS_TOKEN."""


class Login(StrEnum):
    """`WBS_AUTH`: whether requests need an API key."""

    AUTO = "auto"
    """They do, unless the gateway listens on loopback, no key was ever created, and no proxy has forwarded them."""
    ON = "on"
    OFF = "off"


class Directory(Protocol):
    """Knows the API keys (`gateway.key_directory`)."""

    def any_key(self, *, as_last_known: bool = False) -> bool:
        """Tell whether a key was ever created. Raises Unavailable."""

    def find(self, secret: str, *, as_last_known: bool = False) -> ApiKey | None:
        """Return the key with this secret. Raises Unavailable."""


def wrong_key_limiter(clock: Callable[[], float] = monotonic) -> RateLimiter:
    """Return the limiter of wrong keys per address."""
    return RateLimiter(
        WRONG_KEYS_PER_S, WRONG_KEYS_BURST, detail="too many wrong keys from this address", clock=clock
    )


class Authenticator:
    """Lets requests in, or not."""

    def __init__(
        self,
        login: Login,
        http_host: str,
        directory: Directory,
        metrics_token: str = "",
        wrong_keys: RateLimiter | None = None,
        proxies: TrustedProxies | None = None,
    ) -> None:
        if login is Login.AUTO and not is_loopback(http_host):
            login = Login.ON
        self.login = login
        self._directory = directory
        self._metrics_token = metrics_token.encode()
        self._wrong_keys = wrong_keys or wrong_key_limiter()
        self._throttle = Throttle()
        self._proxies = proxies or TrustedProxies()

    def identify(self, request: Request, scope: Scope, *, as_last_known: bool = False) -> Caller:
        """Return who calls. Raises Unauthorized, Forbidden, RateLimited after many wrong keys, or Unavailable.

        `as_last_known`: where the database is away, keys will do as they were before. So it is with metrics always: an
        outage must not blind whoever has to end it.
        """
        if self.login is Login.OFF:
            return NOBODY
        as_last_known = as_last_known or scope is Scope.METRICS
        if self.login is Login.AUTO and not self._directory.any_key(as_last_known=as_last_known):
            if any(name == "forwarded" or name.startswith("x-forwarded-") for name in request.headers):
                raise Forbidden(
                    "a proxy has forwarded this request, and there are no API keys: create one (wbs keys create), or "
                    "say WBS_AUTH=off"
                )
            return NOBODY
        caller = self._caller(request, scope, as_last_known=as_last_known)
        if scope not in caller.scopes and not (scope is Scope.METRICS and caller.is_operator):
            raise Forbidden(f"this key does not have the scope {scope.value}")
        return caller

    def address_of(self, request: Request) -> str:
        """Return the address that a request comes from, as trusted proxies tell it."""
        return self._proxies.client_of(request)

    def _caller(self, request: Request, scope: Scope, *, as_last_known: bool) -> Caller:
        authorization = request.headers.get("authorization")
        if not authorization:
            raise Unauthorized("send Authorization: Bearer <key>")
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized("send Authorization: Bearer <key>")
        secret = secret.strip()
        if scope is Scope.METRICS and self._is_metrics_token(secret):
            return PROMETHEUS
        key = self._directory.find(secret, as_last_known=as_last_known)
        if key is None:
            self._count_wrong_key(self.address_of(request))
            raise Unauthorized("this key is not known, or has expired or been revoked")
        return Caller(key.name, key.space, key.scopes, key.user_prefix, key.secret_hash)

    def _is_metrics_token(self, secret: str) -> bool:
        given = secret.encode(errors="surrogateescape")
        return bool(self._metrics_token) and hmac.compare_digest(given, self._metrics_token)

    def _count_wrong_key(self, address: str) -> None:
        """Slow down who guesses. Raises RateLimited. A right key is never slowed down by wrong ones beside it."""
        WRONG_KEYS.inc()
        if self._throttle.lets_through():
            log.warning("wrong_api_key", address=address, left_out=self._throttle.left_out)
        self._wrong_keys.take(address)

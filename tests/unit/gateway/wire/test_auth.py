"""Who calls, and what the caller may do."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from db.api_keys import ApiKey
from gateway.contract.problems import Forbidden, RateLimited, Unauthorized
from gateway.wire.auth import (
    NOBODY,
    PROMETHEUS,
    WRONG_KEYS_BURST,
    WRONG_KEYS_PER_S,
    Authenticator,
    Caller,
    Login,
    wrong_key_limiter,
)
from runtime.addresses import is_loopback
from wallet.errors import Unavailable, WalletNotFound
from wallet.scopes import Scope

SHOP = ApiKey("shop", frozenset({Scope.READ, Scope.CHARGE}), "default", None, None, b"shop")
ACME = ApiKey("acme", frozenset({Scope.READ}), "acme", "acme-", datetime.now(UTC) + timedelta(days=1))
OPERATOR = ApiKey("eve", frozenset({Scope.OPERATE}), "default", None, None)


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Directory:
    """Keys by their secrets, in memory."""

    def __init__(self, **keys: ApiKey) -> None:
        self.keys = keys
        self.is_known = True

    def any_key(self, *, as_last_known: bool = False) -> bool:
        self._require_known(as_last_known)
        return bool(self.keys)

    def find(self, secret: str, *, as_last_known: bool = False) -> ApiKey | None:
        self._require_known(as_last_known)
        return self.keys.get(secret)

    def _require_known(self, as_last_known: bool) -> None:
        if not self.is_known and not as_last_known:
            raise Unavailable("API keys can't be checked now", reason="api_keys_unknown")


def request(authorization: str | None = None, address: str = "127.0.0.1", **headers: str) -> Any:
    found = {name.replace("_", "-"): value for name, value in headers.items()}
    if authorization is not None:
        found["authorization"] = authorization
    return SimpleNamespace(headers=found, ip=address)


@pytest.fixture
def directory() -> Directory:
    return Directory(shop=SHOP, acme=ACME, eve=OPERATOR)


@pytest.mark.parametrize(("secret", "key"), [("shop", SHOP), ("acme", ACME)])
@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
def test_a_key_says_who_calls(directory: Directory, secret: str, key: ApiKey, scheme: str) -> None:
    """Goal: a caller has the name, the scopes, the space and the users of its key."""
    caller = Authenticator(Login.ON, "127.0.0.1", directory).identify(request(scheme + secret), Scope.READ)
    assert caller == Caller(key.name, key.space, key.scopes, key.user_prefix, key.secret_hash)


@pytest.mark.parametrize(
    "header", [None, "", "shop", "Basic shop", "Bearer", "Bearer ", "Bearer sho", "Bearer shop x"]
)
def test_whatever_is_no_key_is_refused(directory: Directory, header: str | None) -> None:
    """Goal: whatever is not exactly a key is refused."""
    with pytest.raises(Unauthorized):
        Authenticator(Login.ON, "127.0.0.1", directory).identify(request(header), Scope.READ)


@pytest.mark.parametrize("scope", list(Scope))
def test_a_key_may_what_its_scopes_say(directory: Directory, scope: Scope) -> None:
    """Goal: each scope is needed by name; only `operate` includes another, `metrics`."""
    authenticator = Authenticator(Login.ON, "127.0.0.1", directory)
    for secret, key in directory.keys.items():
        may = scope in key.scopes or (scope is Scope.METRICS and Scope.OPERATE in key.scopes)
        if may:
            assert authenticator.identify(request(f"Bearer {secret}"), scope).name == key.name
        else:
            with pytest.raises(Forbidden):
                authenticator.identify(request(f"Bearer {secret}"), scope)


def test_who_is_bound_to_users_reads_no_metrics(directory: Directory) -> None:
    """Goal: `operate` includes `metrics`, which tell of all wallets together, only for who may see all of them."""
    directory.keys["bound"] = ApiKey("bound", frozenset({Scope.OPERATE}), "acme", "acme-", None)
    authenticator = Authenticator(Login.ON, "127.0.0.1", directory)
    with pytest.raises(Forbidden):
        authenticator.identify(request("Bearer bound"), Scope.METRICS)


def test_the_token_of_prometheus(directory: Directory) -> None:
    """Goal: it reads metrics and nothing else; without the setting nothing is such a token, not even nothing."""
    authenticator = Authenticator(Login.ON, "127.0.0.1", directory, "metrics-token-16")
    assert authenticator.identify(request("Bearer metrics-token-16"), Scope.METRICS) is PROMETHEUS
    for header, scope in (
        ("Bearer metrics-token-16", Scope.OPERATE),
        ("Bearer metrics-token-1", Scope.METRICS),
    ):
        with pytest.raises(Unauthorized):
            authenticator.identify(request(header), scope)
    with pytest.raises(Unauthorized):
        Authenticator(Login.ON, "127.0.0.1", directory).identify(request("Bearer "), Scope.METRICS)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.9.1"])
def test_auto_lets_everybody_in_on_loopback_without_keys(host: str) -> None:
    """Goal: on loopback, while no key was ever made, nobody needs one, unless a proxy stands before us."""
    authenticator = Authenticator(Login.AUTO, host, Directory())
    assert authenticator.identify(request("Bearer whatever"), Scope.OPERATE) is NOBODY
    for name in ("forwarded", "x_forwarded_for", "x_forwarded_proto", "x_forwarded_anything"):
        with pytest.raises(Forbidden, match="proxy"):
            authenticator.identify(request(**{name: "1"}), Scope.READ)


def test_auto_needs_keys_once_there_was_one(directory: Directory) -> None:
    """Goal: the first key switches logins on."""
    with pytest.raises(Unauthorized):
        Authenticator(Login.AUTO, "127.0.0.1", directory).identify(request(), Scope.READ)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.com", "127.0.0.1.example.com"])
def test_auto_is_on_elsewhere(host: str) -> None:
    """Goal: where others can reach us, an empty list of keys opens nothing."""
    assert not is_loopback(host)
    with pytest.raises(Unauthorized):
        Authenticator(Login.AUTO, host, Directory()).identify(request(), Scope.READ)


@pytest.mark.parametrize("login", [Login.AUTO, Login.ON])
def test_nobody_is_let_in_while_keys_are_unknown(directory: Directory, login: Login) -> None:
    """Goal: it fails closed, with and without keys, whatever is sent."""
    for known in (directory, Directory()):
        known.is_known = False
        with pytest.raises(Unavailable):
            Authenticator(login, "127.0.0.1", known).identify(request("Bearer shop"), Scope.READ)


@pytest.mark.parametrize("login", [Login.AUTO, Login.ON])
def test_metrics_are_told_in_an_outage(directory: Directory, login: Login) -> None:
    """Goal: an outage of the database does not blind the operator, and lets nobody else look either."""
    directory.is_known = False
    authenticator = Authenticator(login, "127.0.0.1", directory, "metrics-token-16")
    for secret in ("eve", "metrics-token-16"):
        authenticator.identify(request(f"Bearer {secret}"), Scope.METRICS)
    for secret, refusal in (("shop", Forbidden), ("guess", Unauthorized)):
        with pytest.raises(refusal):
            authenticator.identify(request(f"Bearer {secret}"), Scope.METRICS)
    unknown = Directory()
    unknown.is_known = False
    if login is Login.AUTO:
        Authenticator(login, "127.0.0.1", unknown).identify(request(), Scope.METRICS)


def test_off_is_off() -> None:
    """Goal: `off`, in words, asks for nothing."""
    unknown = Directory()
    unknown.is_known = False
    authenticator = Authenticator(Login.OFF, "0.0.0.0", unknown)
    assert authenticator.identify(request(forwarded="for=x"), Scope.OPERATE) is NOBODY


def test_wrong_keys_are_slowed_down(directory: Directory) -> None:
    """Goal: an address that guesses has to wait; others don't, and neither does a right key from the same one."""
    clock = Clock()
    authenticator = Authenticator(Login.ON, "127.0.0.1", directory, wrong_keys=wrong_key_limiter(clock))

    def guess(address: str = "10.0.0.1") -> None:
        authenticator.identify(request("Bearer guess", address), Scope.READ)

    for _ in range(WRONG_KEYS_BURST):
        with pytest.raises(Unauthorized):
            guess()
    with pytest.raises(RateLimited) as refused:
        guess()
    assert int(refused.value.headers["retry-after"]) >= 1
    with pytest.raises(Unauthorized):
        guess("10.0.0.2")
    assert authenticator.identify(request("Bearer shop", "10.0.0.1"), Scope.READ).name == "shop"
    clock.now += 2.5 / WRONG_KEYS_PER_S
    with pytest.raises(Unauthorized):
        guess()


def test_who_owns_a_wallet() -> None:
    """Goal: a key that is bound to users has these and no others; any other key has all."""
    authenticator = Authenticator(Login.ON, "127.0.0.1", Directory(acme=ACME, shop=SHOP))
    acme = authenticator.identify(request("Bearer acme"), Scope.READ)
    acme.require_own("acme-1")
    for other in ("acme", "acm", "Acme-1", " acme-1", "x-acme-1", ""):
        with pytest.raises(WalletNotFound):
            acme.require_own(other)
    authenticator.identify(request("Bearer shop"), Scope.READ).require_own("anybody")

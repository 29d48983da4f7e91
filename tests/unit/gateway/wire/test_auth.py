"""API keys: who calls, and what they may do."""

import pytest

from gateway.contract.problems import Unauthorized
from gateway.wire.auth import Authenticator, Caller
from runtime.settings import SettingsError

KEYS = (
    "shop=shop-secret, viewer=viewer-secret:read, shop=second-secret, partner@theirs=partner-secret,"
    "old@old=old-=-secret:read, bob@bob@example.com=bobs@secret"
)


@pytest.mark.parametrize(
    ("secret", "caller"),
    [
        ("shop-secret", Caller("shop", "default", True)),
        ("second-secret", Caller("shop", "default", True)),
        ("viewer-secret", Caller("viewer", "default", False)),
        ("partner-secret", Caller("partner", "theirs", True)),
        ("old-=-secret", Caller("old", "old", False)),
        ("bobs@secret", Caller("bob", "bob@example.com", True)),
    ],
)
def test_known_keys(secret: str, caller: Caller) -> None:
    """Goal: a key names its client, what it may do, and the space of its idempotency keys, `default` if it names none.

    A client may have two, so that they can be rotated.
    """
    assert Authenticator(KEYS).identify(f"Bearer {secret}") == caller


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "shop-secret",
        "Basic shop-secret",
        "Bearer",
        "Bearer ",
        "Bearer shop-secre",
        "Bearer shop-secret x",
    ],
)
def test_unknown_keys(header: str | None) -> None:
    """Goal: whatever is not exactly a key is refused."""
    with pytest.raises(Unauthorized):
        Authenticator(KEYS).identify(header)


def test_off_by_default() -> None:
    """Goal: without keys there is no login."""
    assert not Authenticator("").enabled
    assert not Authenticator(" , ").enabled


@pytest.mark.parametrize(
    "keys",
    [
        "shop",
        "=shop-secret",
        "shop=",
        "shop=short",
        "a=same-secret,b=same-secret",
        "shop@=shop-secret",
        "@space=shop-secret",
        "shop@ space=shop-secret",
        "shop @space=shop-secret",
        "sh\top=shop-secret",
        "shop@a\x1fb=shop-secret",
        "shop@" + "x" * 65 + "=shop-secret",
        "x" * 65 + "=shop-secret",
    ],
)
def test_bad_settings_do_not_show_the_secret(keys: str) -> None:
    """Goal: a mistake in the setting is found at start, and told without the secret."""
    with pytest.raises(SettingsError) as refused:
        Authenticator(keys)
    assert "shop-secret" not in str(refused.value)
    assert "same-secret" not in str(refused.value)

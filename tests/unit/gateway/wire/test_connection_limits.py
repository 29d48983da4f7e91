"""Bounds on connections, and whose word on the client's address counts."""

from types import SimpleNamespace
from typing import Any

import pytest
from multidict import CIMultiDict

from gateway.wire.connection_limits import ConnectionLimits, TrustedProxies
from runtime.settings import SettingsError

PROXIES = "10.0.0.0/8, 192.168.1.7, fd00::/8"


def request(peer: str, *forwarded: str) -> Any:
    headers = CIMultiDict([("x-forwarded-for", value) for value in forwarded])
    return SimpleNamespace(ip=peer, headers=headers)


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        (
            "203.0.113.9",
            ["198.51.100.1"],
            "203.0.113.9",
        ),  # no proxy of ours: whatever it says is its own word
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),  # what stands before may be invented
        ("10.0.0.1", ["1.1.1.1", "198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.5"], "10.0.0.5"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, nonsense, 10.0.0.2"], "10.0.0.2"),
        ("fd00::1", ["2001:db8::5"], "2001:db8::5"),
        ("::ffff:10.0.0.1", ["1.1.1.1, 198.51.100.1, ::ffff:10.9.9.9"], "198.51.100.1"),
        ("::ffff:203.0.113.9", ["198.51.100.1"], "::ffff:203.0.113.9"),
        ("192.168.1.7", ["198.51.100.1"], "198.51.100.1"),
        ("192.168.1.8", ["198.51.100.1"], "192.168.1.8"),
    ],
)
def test_who_the_client_is(peer: str, forwarded: list[str], client: str) -> None:
    """Goal: only a trusted proxy says who the client is, and only the last address that it can't have invented."""
    assert TrustedProxies.from_setting(PROXIES).client_of(request(peer, *forwarded)) == client


@pytest.mark.parametrize("text", ["10.0.0.0/99", "proxy", "10.0.0.1/8"])
def test_a_wrong_setting_is_named(text: str) -> None:
    """Goal: what is no network stops the start, with the name of the setting."""
    with pytest.raises(SettingsError, match="WBS_TRUSTED_PROXIES"):
        TrustedProxies.from_setting(text)


def test_no_address_takes_all() -> None:
    """Goal: bounds hold per address and in all; an end makes room; a trusted proxy has only the bound in all."""
    limits = ConnectionLimits(5, 2, TrustedProxies.from_setting("10.0.0.1"))
    assert [limits.admit("a") for _ in range(3)] == [True, True, False]
    assert [limits.admit("10.0.0.1") for _ in range(4)] == [True, True, True, False]
    limits.release("a")
    assert [limits.admit("b"), limits.admit("b")] == [True, False]
    limits.release("10.0.0.1")
    assert limits.admit("a")

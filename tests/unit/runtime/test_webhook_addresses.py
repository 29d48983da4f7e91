"""Where webhooks may go: no spelling of an address, no name and no redirect leads to what only we can reach."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from runtime import webhook_calls
from runtime.webhook_addresses import check_webhook_url, is_public
from runtime.webhook_calls import WebhookCalls

PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2001:0:7f00:1::",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
REFUSED = [
    "http://shop.example/",
    "ftp://shop.example/",
    "https://",
    "https:///path",
    "https://user:secret@shop.example/",
    "https://shop.example/#part",
    "https://shop.example:22/",
    "https://shop.example:99999/",
    "https://localhost/",
    "https://127.0.0.1/",
    "https://[::1]/",
    "https://shop.example/a b",
    "https://shop.example\\@127.0.0.1/",
    "https://shöp.example/",
    f"https://shop.example/{'a' * 2048}",
]
SPELLINGS = ["2130706433", "0x7f000001", "017700000001", "127.1", "0x7f.1", "127.0.0.1.", "localhost."]
SECRET = "whsec_" + "QUFB" * 8


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_known(address: str) -> None:
    """Goal: addresses of networks of one's own are none of the Internet's, also within IPv6."""
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_known(address: str) -> None:
    """Goal: what anybody can reach may be called."""
    assert is_public(address)


@pytest.mark.parametrize("url", REFUSED)
def test_urls_that_are_refused(url: str) -> None:
    """Goal: only plain https to a public name."""
    with pytest.raises(ValueError, match="must"):
        check_webhook_url(url, private=False)
    check_webhook_url("https://shop.example:8443/hooks?of=wbs", private=False)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """What only we can reach: nobody may connect to it."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    yield listening
    with pytest.raises(BlockingIOError):
        listening.accept()
    listening.close()


@pytest.mark.parametrize("host", [*SPELLINGS, "127.0.0.1"])
async def test_no_spelling_gets_through(
    host: str, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: however an address is spelled, what is connected to is what counts, not the text."""
    monkeypatch.setattr(webhook_calls, "check_webhook_url", lambda url, private: None)
    calls = WebhookCalls(private=False, timeout_s=5.0)
    answer = await calls.post(f"https://{host}:{listener.getsockname()[1]}/", [SECRET], "id", b"{}")
    await calls.close()
    assert (answer.status_code, answer.unreachable) == (None, True)


async def test_names_of_private_addresses(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a name that leads to a private address, or to one after a public one, is looked up once and refused."""
    port, asked = listener.getsockname()[1], []

    def look_up(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    calls = WebhookCalls(private=False, timeout_s=5.0)
    answer = await calls.post(f"https://rebinding.example:{port}/", [SECRET], "id", b"{}")
    await calls.close()
    assert asked == ["rebinding.example"]
    assert answer.error == "not a public address (WBS_WEBHOOKS_PRIVATE)"

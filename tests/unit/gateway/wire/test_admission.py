"""Which names are ours, and which pages: the spellings, one by one."""

from types import SimpleNamespace
from typing import Any

import pytest
from sanic.compat import Header

from gateway.contract.problems import CrossSite, HostNotAllowed
from gateway.wire.admission import KNOWN_HOSTS_MAX, Admission

PAGE = "https://pay.example"
ADMISSION = Admission({"0.0.0.0", "wallet.example"}, {PAGE})


def request(method: str = "POST", **headers: str) -> Any:
    """A request with these headers (`_` stands for `-`)."""
    fields = Header({name.replace("_", "-"): value for name, value in headers.items()})
    return SimpleNamespace(method=method, headers=fields)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:80",
        "127.0.0.1:8080",
        "[::1]:1",
        "wallet.example",
        "WALLET.example:443",
        "10.0.0.7:8080",
    ],
)
def test_names_that_are_ours(host: str) -> None:
    """Goal: loopback, the bound address, the setting's names and the address that was called, with any port."""
    ADMISSION.check(request(host=host), "10.0.0.7")
    ADMISSION.check(request(host=host), "::ffff:10.0.0.7")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "xlocalhost",
        "localhost.",
        "10.0.0.8",
        "[::2]",
        "x.wallet.example",
        "::1",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST"])
def test_names_that_are_not(host: str, method: str) -> None:
    """Goal: no other name is served, by whatever method."""
    with pytest.raises(HostNotAllowed):
        ADMISSION.check(request(method, host=host), "10.0.0.7")
    assert host not in ADMISSION.known_hosts


def test_no_host_is_no_page() -> None:
    """Goal: HTTP/1.0 without Host is served: probes speak it, browsers don't."""
    ADMISSION.check(request("GET"), None)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8080", "http://localhost:8080"),
        ("localhost:8080", "https://localhost:8080"),
        ("LOCALHOST", "http://localhost"),
        ("localhost:80", "http://localhost"),
        ("localhost:443", "https://localhost"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("localhost", PAGE),
    ],
)
def test_pages_that_are_ours(host: str, origin: str) -> None:
    """Goal: a page from where the request goes may order things, and one that the setting names."""
    ADMISSION.check(request(host=host, origin=origin), None)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8080", "http://localhost"),
        ("localhost:8080", "http://localhost:80801"),
        ("localhost:8080", "http://127.0.0.1:8080"),
        ("localhost:443", "http://localhost"),
        ("localhost:80", "https://localhost"),
        ("localhost", "ftp://localhost"),
        ("localhost", "null"),
        ("localhost", ""),
        ("localhost", "localhost"),
        ("localhost", "http://localhost.evil.example"),
        ("localhost", "http://evil.example/http://localhost"),
        ("localhost", "https://pay.example.evil.example"),
        ("localhost", "https://PAY.example"),
        ("localhost", "http://pay.example"),
    ],
)
def test_pages_that_are_not(host: str, origin: str) -> None:
    """Goal: any other page orders nothing; what it only reads, the browser keeps from it."""
    for method in ("POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"):
        with pytest.raises(CrossSite):
            ADMISSION.check(request(method, host=host, origin=origin), None)
    for method in ("GET", "HEAD", "OPTIONS"):
        ADMISSION.check(request(method, host=host, origin=origin), None)
        if origin != PAGE:
            assert ADMISSION.cors_lines(request(method, origin=origin)) == b""


@pytest.mark.parametrize("site", ["cross-site", "same-site", "SAME-ORIGIN", "", "x"])
def test_what_a_browser_says_of_the_site(site: str) -> None:
    """Goal: without Origin, too, only our own pages and the address bar order things."""
    with pytest.raises(CrossSite):
        ADMISSION.check(request(host="localhost", sec_fetch_site=site), None)
    with pytest.raises(CrossSite):
        ADMISSION.check(request(host="localhost", origin="http://localhost", sec_fetch_site=site), None)
    ADMISSION.check(request(host="localhost", origin=PAGE, sec_fetch_site=site), None)
    for own in ("same-origin", "none"):
        ADMISSION.check(request(host="localhost", sec_fetch_site=own), None)


def test_spellings_do_not_pile_up() -> None:
    """Goal: a client that spells the port differently each time fills no memory, and is served."""
    admission = Admission(())
    for port in range(2 * KNOWN_HOSTS_MAX):
        admission.check(request(host=f"localhost:{port}"), None)
    assert len(admission.known_hosts) == KNOWN_HOSTS_MAX

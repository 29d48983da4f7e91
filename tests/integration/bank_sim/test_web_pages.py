"""A browser near the bank: pages of other sites, and of names that are not the bank's, order and read nothing."""

from collections.abc import Callable

import aiohttp
import pytest

from tests.integration.bank_sim.conftest import BankClient, BankProcess

CALLS = [
    ("POST", "/payouts"),
    ("GET", "/payouts"),
    ("GET", "/payouts/w-1"),
    ("POST", "/payouts/w-1/return"),
    ("GET", "/faults"),
    ("PUT", "/faults"),
    ("DELETE", "/faults"),
    ("GET", "/health"),
    ("GET", "/metrics"),
    ("GET", "/nothing"),
    ("POST", "/health"),
]
ORDER = {"reference": "w-1", "amount": 1, "currency": "USD"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
async def test_pages_of_other_sites_order_nothing(bank: BankClient, headers: dict[str, str]) -> None:
    """Goal: no payout, no return and no fault comes from another site's page."""
    for method, path in CALLS:
        if method != "GET":
            sent = {"Idempotency-Key": "k", **headers}
            status, problem = await bank.call(method, path, json=ORDER, headers=sent)
            assert (status, problem["code"]) == (403, "cross_site"), (method, path)
    assert await bank.books() == []


async def test_no_name_but_its_own(bank: BankClient) -> None:
    """Goal: a page whose own name leads to the bank learns nothing."""
    for method, path in CALLS:
        for host in ("", "attacker.example", "localhost.attacker.example", "127.0.0.2:80", "bank_sim"):
            status, problem = await bank.call(method, path, headers={"Host": host})
            assert (status, problem["code"]) == (421, "host_not_allowed"), (method, path, host)
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8090"):
        assert (await bank.call("GET", "/health", headers={"Host": host}))[0] == 200


async def test_names_that_the_setting_names(
    new_bank: Callable[..., BankProcess], connect: Callable[[BankProcess], BankClient]
) -> None:
    """Goal: in a network of containers it is called by its service's name."""
    process = new_bank(WBS_ALLOWED_HOSTS="bank_sim, Bank.example")
    process.start()
    bank = connect(process)
    for host, status in (("bank_sim:8090", 200), ("bank.example", 200), ("x.bank.example", 421)):
        assert (await bank.call("GET", "/health", headers={"Host": host}))[0] == status


async def test_its_own_pages_may(bank: BankClient, bank_process: BankProcess) -> None:
    """Goal: what comes from its own address is served, whatever a browser adds."""
    headers = {"Origin": bank_process.url, "Sec-Fetch-Site": "same-origin", "Idempotency-Key": "w-1"}
    assert (await bank.call("POST", "/payouts", json=ORDER, headers=headers))[0] == 201


async def test_every_answer_is_protected(bank_process: BankProcess) -> None:
    """Goal: no answer is kept, guessed at or shown in a frame."""
    async with aiohttp.ClientSession() as session:
        for method, path in CALLS:
            for headers in ({}, {"Host": "attacker.example"}):
                async with session.request(method, bank_process.url + path, headers=headers) as answer:
                    assert answer.headers["cache-control"] == "no-store"
                    assert answer.headers["x-content-type-options"] == "nosniff"
                    assert answer.headers["x-frame-options"] == "DENY"
                    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
                    assert "access-control-allow-origin" not in answer.headers

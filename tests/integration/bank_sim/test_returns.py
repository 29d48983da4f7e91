"""Money that comes back, and the signed callback that tells of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.integration.bank_sim.conftest import Wallet
from tests.polling import poll_until


async def test_a_return_is_told_once(wallet: Wallet, calling_bank: Any, connect: Any) -> None:
    """Goal: however often it is returned, the money comes back once and the wallet hears of it, signed."""
    bank = connect(calling_bank)
    _, receipt = await bank.pay("w-1", amount=250)
    answers = await asyncio.gather(*(bank.call("POST", "/payouts/w-1/return") for _ in range(8)))
    assert {status for status, _ in answers} == {200}
    assert len({body["returned_at"] for _, body in answers}) == 1

    async def told() -> bool:
        return not (await bank.call("GET", "/health"))[1]["callbacks_waiting"]

    await poll_until(told)
    returned = answers[0][1]
    assert wallet.taken[0] == {
        "type": "payout.returned",
        "timestamp": returned["returned_at"],
        "data": {
            "reference": "w-1",
            "payout_id": receipt["payout_id"],
            "amount": 250,
            "currency": "USD",
            "returned_at": returned["returned_at"],
            "returned_amount": 250,
        },
    }
    assert len(wallet.taken) == 1
    assert (await bank.find("w-1"))[1]["status"] == "returned"
    assert (await bank.books())[0]["status"] == "returned"
    assert await bank.pay("w-1", amount=250) == (200, receipt)


async def test_unknown_cannot_return(bank: Any) -> None:
    """Goal: what was never paid cannot come back."""
    status, problem = await bank.call("POST", "/payouts/w-1/return")
    assert (status, problem["code"]) == (404, "payout_not_found")


async def test_a_part_comes_back(bank: Any) -> None:
    """Goal: less than was paid may come back; not more, not nothing, and only once."""
    await bank.pay("w-1", amount=250)
    for amount in (0, 251, "1"):
        assert (await bank.call("POST", "/payouts/w-1/return", json={"amount": amount}))[0] == 422
    for amount in (100, 100, 200):
        status, body = await bank.call("POST", "/payouts/w-1/return", json={"amount": amount})
        assert (status, body["amount"], body["returned_amount"]) == (200, 250, 100)
    assert (await bank.find("w-1"))[1]["returned_amount"] == 100
    assert (await bank.books())[0]["returned_amount"] == 100


async def test_told_until_taken(wallet: Wallet, calling_bank: Any, connect: Any) -> None:
    """Goal: a refused callback comes again, over kill -9 too, with the same id and body."""
    wallet.refuse = 1_000
    bank = connect(calling_bank)
    await bank.pay("w-1")
    await bank.call("POST", "/payouts/w-1/return")
    await poll_until(partial(wallet.has, tries=2))
    calling_bank.kill()
    seen = len(wallet.tries)
    await asyncio.to_thread(calling_bank.start)
    await poll_until(partial(wallet.has, tries=seen + 1))
    wallet.refuse = 0
    await poll_until(partial(wallet.has, taken=1))
    assert len(set(wallet.tries)) == 1


async def test_many_returns(wallet: Wallet, calling_bank: Any, connect: Any) -> None:
    """Goal: more returns than may be in flight at a time are all reported, some at the second try."""
    wallet.refuse = 10
    bank = connect(calling_bank)
    references = {f"w-{number}" for number in range(60)}
    await asyncio.gather(*map(bank.pay, references))
    await asyncio.gather(*(bank.call("POST", f"/payouts/{reference}/return") for reference in references))
    await poll_until(partial(wallet.has, taken=len(references)))
    assert {event["data"]["reference"] for event in wallet.taken} == references


async def test_two_secrets_sign(wallet: Wallet, new_bank: Callable[..., Any], connect: Any) -> None:
    """Goal: while the secret is replaced, a receiver with either one can verify a callback."""
    secrets = f"whsec_{'A' * 32}, {wallet.secret}"
    process = new_bank(WBS_CALLBACK_URL=wallet.url, WBS_BANK_WEBHOOK_SECRET=secrets)
    await asyncio.to_thread(process.start)
    bank = connect(process)
    await bank.pay("w-1")
    await bank.call("POST", "/payouts/w-1/return")
    await poll_until(partial(wallet.has, taken=1))


async def test_a_file_of_secrets_is_read_again(
    wallet: Wallet, new_bank: Callable[..., Any], connect: Any, tmp_path: Path
) -> None:
    """Goal: who puts another secret into the file restarts no bank; a file that holds none changes nothing."""
    file = tmp_path / "secret"

    def put(content: str) -> None:
        (tmp_path / "new").write_text(content, encoding="ascii")
        (tmp_path / "new").replace(file)

    put(wallet.secret)
    process = new_bank(WBS_CALLBACK_URL=wallet.url, WBS_BANK_WEBHOOK_SECRET_FILE=str(file))
    await asyncio.to_thread(process.start)
    bank = connect(process)
    new = f"whsec_{'A' * 32}"
    for number, content in enumerate((wallet.secret, new, "nonsense", "")):
        put(content)
        wallet.secret = new if number else wallet.secret
        await bank.pay(f"w-{number}")
        await bank.call("POST", f"/payouts/w-{number}/return")
        await poll_until(partial(wallet.has, taken=number + 1))

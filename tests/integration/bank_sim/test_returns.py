"""Money that comes back, and the signed callback that tells of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks import Webhook

from tests.polling import poll_until

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Wallet:
    """Takes callbacks on a real port, after refusing as many as it is told to."""

    def __init__(self) -> None:
        self.refuse = 0
        self.tries: list[tuple[str, str]] = []  # webhook-id, body
        self.taken: list[dict[str, Any]] = []
        self.url = ""

    async def callback(self, request: web.Request) -> web.Response:
        body = await request.text()
        event = Webhook(SECRET).verify(body, dict(request.headers))
        self.tries.append((request.headers["webhook-id"], body))
        if self.refuse > 0:
            self.refuse -= 1
            return web.Response(status=503)
        self.taken.append(event)
        return web.Response(status=204)

    def has(self, tries: int = 0, taken: int = 0) -> bool:
        return len(self.tries) >= tries and len(self.taken) >= taken


@pytest.fixture
async def wallet() -> AsyncIterator[Wallet]:
    wallet = Wallet()
    app = web.Application()
    app.router.add_post("/bank/callbacks", wallet.callback)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    wallet.url = f"http://127.0.0.1:{runner.addresses[0][1]}/bank/callbacks"
    yield wallet
    await runner.cleanup()


@pytest.fixture
async def calling_bank(new_bank: Callable[..., Any], wallet: Wallet) -> Any:
    """A started bank that calls the wallet back."""
    process = new_bank(WBS_CALLBACK_URL=wallet.url, WBS_BANK_WEBHOOK_SECRET=SECRET)
    await asyncio.to_thread(process.start)
    return process


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
    """Goal: more returns than may be in flight at a time are all told, some at the second try."""
    wallet.refuse = 10
    bank = connect(calling_bank)
    references = {f"w-{number}" for number in range(60)}
    await asyncio.gather(*map(bank.pay, references))
    await asyncio.gather(*(bank.call("POST", f"/payouts/{reference}/return") for reference in references))
    await poll_until(partial(wallet.has, taken=len(references)))
    assert {event["data"]["reference"] for event in wallet.taken} == references

"""A real bank, as a process of its own on a free port, that tests may kill."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from standardwebhooks import Webhook

from tests.polling import wait_until
from tests.ports import free_port

START_S_MAX = 60.0
STOP_S_MAX = 20.0


class BankProcess:
    """`python -m bank_sim` on books of its own."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "bank.log"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("WBS_")}
        books = str(folder / "books" / "bank.db")
        self.env = {**clean, "WBS_BANK_PORT": str(self.port), "WBS_BANK_DATA": books, **env}
        self.process: subprocess.Popen[bytes] | None = None

    def spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "bank_sim"], env=self.env, stderr=log)
        return self.process

    def start(self) -> None:
        """Starts it and waits until it answers."""
        process = self.spawn()

        def answers() -> bool:
            assert process.poll() is None, f"the bank ended: {self.log.read_text()}"
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=20):
                    return True
            except OSError:
                return False

        wait_until(answers, START_S_MAX, what="the bank to answer")

    def kill(self) -> None:
        """kill -9"""
        assert self.process is not None
        self.process.kill()
        self.process.wait(STOP_S_MAX)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S_MAX)


class BankClient:
    """The calls a wallet and a tester make."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def call(self, method: str, path: str, **arguments: Any) -> tuple[int, Any]:
        """Status and decoded body."""
        async with self._session.request(method, self._url + path, **arguments) as reply:
            return reply.status, await reply.json(content_type=None)

    async def read(self, path: str) -> bytes:
        """The body as it came."""
        async with self._session.get(self._url + path) as reply:
            return await reply.read()

    async def pay(self, reference: str, amount: int = 100, **more: Any) -> tuple[int, Any]:
        key = more.pop("key", reference)
        timeout = aiohttp.ClientTimeout(total=more.pop("timeout_s", 20))
        body = {"reference": reference, "amount": amount, "currency": "USD", **more}
        return await self.call(
            "POST", "/payouts", json=body, headers={"Idempotency-Key": key}, timeout=timeout
        )

    async def find(self, reference: str) -> tuple[int, Any]:
        return await self.call("GET", f"/payouts/{reference}")

    async def set_faults(self, **faults: Any) -> None:
        status, body = await self.call("PUT", "/faults", json=faults)
        assert status == 200, body

    async def metrics(self) -> str:
        async with self._session.get(f"{self._url}/metrics") as reply:
            return await reply.text()

    async def heal(self) -> None:
        status, _ = await self.call("DELETE", "/faults")
        assert status == 200

    async def books(self, after: str | None = None, limit: int = 1000) -> list[dict[str, Any]]:
        """All payouts after the cursor, page by page."""
        lines: list[dict[str, Any]] = []
        while True:
            query = {"limit": limit} if after is None else {"limit": limit, "after": after}
            status, page = await self.call("GET", "/payouts", params=query)
            assert status == 200, page
            lines += page["payouts"]
            after = page["next"]
            if after is None:
                return lines


@pytest.fixture
def new_bank(tmp_path: Path) -> Iterator[Callable[..., BankProcess]]:
    """Makes banks (not started) with the given environment; all are ended after the test."""
    made: list[BankProcess] = []

    def make(**env: str) -> BankProcess:
        made.append(BankProcess(tmp_path, **env))
        return made[-1]

    yield make
    for bank in made:
        if bank.process is not None and bank.process.poll() is None:
            bank.kill()


@pytest.fixture
def bank_process(new_bank: Callable[..., BankProcess]) -> BankProcess:
    """A started bank without faults and without anyone to call back."""
    bank = new_bank()
    bank.start()
    return bank


@pytest.fixture
async def connect() -> AsyncIterator[Callable[[BankProcess], BankClient]]:
    """Makes clients of a bank."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=200)) as session:
        yield lambda bank: BankClient(session, bank.url)


@pytest.fixture
async def bank(bank_process: BankProcess, connect: Callable[[BankProcess], BankClient]) -> BankClient:
    """A client of the started bank."""
    return connect(bank_process)


SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Wallet:
    """Takes callbacks on a real port, after refusing as many as it is told to."""

    def __init__(self) -> None:
        self.refuse = 0
        self.tries: list[tuple[str, str]] = []  # webhook-id, body
        self.taken: list[dict[str, Any]] = []
        self.url = ""
        self.secret = SECRET

    async def callback(self, request: web.Request) -> web.Response:
        body = await request.text()
        event = Webhook(self.secret).verify(body, dict(request.headers))
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

"""The bank behind a proxy: what the proxy learns, and what comes of one that does not do its work."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
import uvloop

from actors.bank import open_bank
from actors.bank.protocol import PayoutOrder
from actors.bank.tunnel import REPLY_BYTES_MAX, Proxy
from actors.bank.wire import HttpClient, NotSent
from runtime.settings import Settings
from tests.integration.actors import fault_server as ending
from tests.integration.actors.authority import Authority
from tests.integration.actors.fault_server import FaultServer
from tests.ports import free_port
from tests.tcp import Server, connected
from wallet.outcomes import BankUnavailable, FindOutcome, Paid

PAID = {"payout_id": "po_1", "reference": "w-1", "status": "paid", "amount": 1, "currency": "USD"}
ORDER = PayoutOrder("w-1", 1, "USD")
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


class ProxyServer:
    """Answers CONNECT with `answer`; after a 200 it passes on what comes, and keeps a copy of it."""

    def __init__(self) -> None:
        self.answer = b"HTTP/1.1 200 Connection established\r\n\r\n"
        self.heads: list[bytes] = []
        self.passed_on = bytearray()
        self._server = Server(self._serve)

    @property
    def port(self) -> int:
        return self._server.port

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        await self._server.start(tls=tls)

    async def stop(self) -> None:
        await self._server.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        writer.write(self.answer)
        if self.answer.startswith(b"HTTP/1.1 200"):
            target = f"tcp://{head.split(b' ')[1].decode()}"
            async with connected(target, timeout_s=None) as (there, back), self._server.cutting(back):
                await asyncio.gather(self._copy(reader, back), self._copy(there, writer))
        elif not self.answer:
            await reader.read()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            self.passed_on += data
            writer.write(data)
        writer.close()


@pytest_asyncio.fixture
async def proxy() -> AsyncIterator[ProxyServer]:
    """A proxy that works."""
    server = ProxyServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The one that vouches for the bank."""
    return Authority(tmp_path / "authority")


@pytest_asyncio.fixture
async def bank_server(authority: Authority) -> AsyncIterator[FaultServer]:
    """A bank behind https."""
    server = FaultServer()
    await server.start(authority.server(*authority.issue("bank")))
    yield server
    await server.stop()


async def calls(
    loop: Callable[[], asyncio.AbstractEventLoop], environment: dict[str, str], times: int = 1
) -> FindOutcome:
    """Pay some times, on an event loop of its own; return the last outcome."""

    async def pay() -> FindOutcome:
        bank = open_bank(Settings.from_env(environment).for_bank)
        try:
            return [await bank.pay(ORDER) for _ in range(times)][-1]
        finally:
            await bank.close()

    def run() -> FindOutcome:
        with asyncio.Runner(loop_factory=loop) as runner:
            return runner.run(pay())

    return await asyncio.to_thread(run)


def environment(bank_server: FaultServer, proxy_url: str, authority: Authority) -> dict[str, str]:
    """What leads to the bank through a proxy."""
    return {
        "WBS_BANK_URL": bank_server.url,
        "WBS_BANK_CA_FILE": str(authority.file),
        "WBS_BANK_TOKEN": "s3cret-of-the-bank",
        "WBS_BANK_PROXY": proxy_url,
        "WBS_BANK_CONNECT_TIMEOUT_MS": "8000",
        "WBS_BANK_TIMEOUT_MS": "9000",
        "WBS_LEASE_MS": "40000",
    }


@pytest.mark.parametrize("loop", LOOPS)
async def test_the_proxy_learns_the_name_of_the_bank_alone(
    loop: Callable[[], asyncio.AbstractEventLoop],
    proxy: ProxyServer,
    bank_server: FaultServer,
    authority: Authority,
) -> None:
    """Goal: paid through one tunnel that is kept; the bank's credential and the order can't be read on the way."""
    bank_server.script.extend([ending.answer(201, PAID)] * 3)
    url = f"http://me:pass%2Fword@localhost:{proxy.port}"  # a name that the bank's certificate does not have
    assert await calls(loop, environment(bank_server, url, authority), times=3) == Paid("po_1")
    where = bank_server.url.removeprefix("https://")
    assert [head.decode() for head in proxy.heads] == [
        f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\nProxy-Authorization: Basic bWU6cGFzcy93b3Jk\r\n\r\n"
    ]
    assert len(bank_server.requests) == 3
    assert {request.headers["authorization"] for request in bank_server.requests} == {
        "Bearer s3cret-of-the-bank"
    }
    assert not any("proxy-authorization" in request.headers for request in bank_server.requests)
    assert len(proxy.passed_on) > 1000
    assert b"s3cret" not in proxy.passed_on
    assert b"payout" not in proxy.passed_on


REFUSALS = {
    "wants a password": (b"HTTP/1.1 407 Nope\r\nContent-Length: 4\r\n\r\nnope", "the proxy answers 407"),
    "knows no such host": (b"HTTP/1.1 502 Bad\r\n\r\n", "the proxy answers 502"),
    "asks and asks": (b"HTTP/1.1 100 Continue\r\n\r\n" * 2_000, "the proxy says too much"),
    "says too much": (b"HTTP/1.1 200 OK\r\nx: " + b"x" * REPLY_BYTES_MAX + b"\r\n\r\n", "too much"),
    "is no proxy": (b"SSH-2.0-OpenSSH_9.2\r\n", "the proxy does not speak HTTP"),
    "hangs up": (b"HTTP/1.1 20", "the proxy hung up"),
}


@pytest.mark.parametrize("kind", REFUSALS)
@pytest.mark.parametrize("loop", LOOPS)
async def test_without_a_tunnel_nothing_is_sent(
    kind: str,
    loop: Callable[[], asyncio.AbstractEventLoop],
    proxy: ProxyServer,
    bank_server: FaultServer,
    authority: Authority,
) -> None:
    """Goal: if a proxy does not connect us, the order was certainly not sent, and the reason is reported."""
    proxy.answer, reason = REFUSALS[kind]
    url = f"http://me:s3cret@127.0.0.1:{proxy.port}"
    outcome = await calls(loop, environment(bank_server, url, authority))
    assert isinstance(outcome, BankUnavailable)
    assert reason in outcome.reason
    assert "s3cret" not in outcome.reason
    assert not bank_server.requests


@pytest.mark.parametrize("loop", LOOPS)
async def test_a_proxy_that_says_nothing(
    loop: Callable[[], asyncio.AbstractEventLoop],
    proxy: ProxyServer,
    bank_server: FaultServer,
    authority: Authority,
) -> None:
    """Goal: the time to connect bounds the proxy's answer too."""
    proxy.answer = b""
    url = f"http://127.0.0.1:{proxy.port}"
    hasty = environment(bank_server, url, authority) | {"WBS_BANK_CONNECT_TIMEOUT_MS": "300"}
    assert await calls(loop, hasty) == BankUnavailable("connect timeout")


async def test_a_proxy_that_is_not_there(bank_server: FaultServer, authority: Authority) -> None:
    """Goal: a proxy that is down is a bank that can't be reached, never one that is reached without it."""
    url = f"http://127.0.0.1:{free_port()}"
    outcome = await calls(uvloop.new_event_loop, environment(bank_server, url, authority))
    assert outcome == BankUnavailable("not connected: ConnectionRefusedError")
    assert not bank_server.requests


async def test_a_tunnel_to_somebody_else(
    proxy: ProxyServer, bank_server: FaultServer, authority: Authority, tmp_path: Path
) -> None:
    """Goal: a proxy that connects us with another server gets no order to see: the server has to be the bank."""
    url = f"http://127.0.0.1:{proxy.port}"
    stranger = environment(bank_server, url, Authority(tmp_path / "stranger"))
    outcome = await calls(uvloop.new_event_loop, stranger)
    assert isinstance(outcome, BankUnavailable)
    assert "certificate" in outcome.reason
    assert not bank_server.requests


@pytest.mark.parametrize("loop", LOOPS)
async def test_a_proxy_behind_tls(
    loop: Callable[[], asyncio.AbstractEventLoop], bank_server: FaultServer, authority: Authority
) -> None:
    """Goal: the proxy's own credential can be sent encrypted too, TLS within TLS; a strange proxy gets nothing."""
    tls_proxy = ProxyServer()
    await tls_proxy.start(authority.server(*authority.issue("proxy")))
    known = ssl.create_default_context(cafile=str(authority.file))
    bank_server.script.append(ending.answer(200, b"{}"))

    async def call(tls: ssl.SSLContext) -> tuple[int, bytes]:
        client = HttpClient(
            bank_server.url,
            timeout_s=9,
            connect_timeout_s=8,
            connections_max=1,
            tls=known,
            proxy=Proxy("127.0.0.1", tls_proxy.port, tls, "Proxy-Authorization: Basic x\r\n"),
        )
        try:
            return await client.call("GET", "/payouts/w-1", bytes_max=100)
        finally:
            await client.close()

    def run(tls: ssl.SSLContext) -> tuple[int, bytes]:
        with asyncio.Runner(loop_factory=loop) as runner:
            return runner.run(call(tls))

    assert await asyncio.to_thread(run, known) == (200, b"{}")
    with pytest.raises(NotSent, match="certificate"):
        await asyncio.to_thread(run, ssl.create_default_context())
    assert len(tls_proxy.heads) == 1
    await tls_proxy.stop()

"""A gateway's start and end: what it took it answers."""

import asyncio
import contextlib
import itertools
import resource
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import psutil

from tests.integration.gateway.conftest import Api, Gateway, StartGateway, new_key
from tests.polling import poll_until
from tests.ports import free_port
from tests.tcp import connected


class Load:
    """Clients that charge one after another on kept connections, and record the answers."""

    def __init__(self, port: int, clients: int) -> None:
        self._port = port
        self._keys = itertools.count(1)
        self.acknowledged: set[str] = set()
        self.unanswered: set[str] = set()
        """Requests that were completely sent and got no answer: their outcome is unknown."""
        self.refused: list[bytes] = []
        self._tasks = [asyncio.create_task(self._client()) for _ in range(clients)]

    async def _client(self) -> None:
        while True:
            try:
                async with connected(self._port, timeout_s=None) as (reader, writer):
                    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                        while await self._charge(reader, writer):
                            pass
            except OSError:
                return  # nobody listens any more

    async def _charge(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        key = f"load-{next(self._keys)}"
        body = b'{"user_id":7,"amount":1,"idempotency_key":"%b"}' % key.encode()
        head = b"POST /charge HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        writer.write(head + b"content-length: %d\r\n\r\n%b" % (len(body), body))
        self.unanswered.add(key)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        self.unanswered.discard(key)
        if head.startswith(b"HTTP/1.1 200 "):
            self.acknowledged.add(key)
        else:
            self.refused.append(head)
        return b"connection: close" not in head

    async def end(self) -> None:
        await asyncio.wait_for(asyncio.gather(*self._tasks), 60)


async def test_sigterm_under_load(
    gateway: Gateway, session: aiohttp.ClientSession, connection: asyncpg.Connection
) -> None:
    """Goal: at SIGTERM under load every request that was taken is answered and written; the exit is clean."""
    load = Load(gateway.port, clients=32)
    await poll_until(lambda: len(load.acknowledged) > 500)
    assert await asyncio.to_thread(gateway.stop) == 0
    await load.end()
    written = {row["key"] for row in await connection.fetch("select key from idempotency_keys")}
    assert load.refused == []
    assert load.unanswered == set()
    assert written == load.acknowledged
    assert gateway.events("gateway_stopped")
    assert not gateway.events("connections_cut")


@contextlib.contextmanager
def open_files_limit(soft: int) -> Iterator[None]:
    """What is started within inherits this limit."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


async def test_more_clients_than_files_are_usually_allowed(
    spawn_gateway: Callable[..., Gateway], database_url: str, session: aiohttp.ClientSession
) -> None:
    """Goal: a login shell's soft limit (often 1,024 files, here 256) is not the limit of a gateway's connections."""
    with open_files_limit(256):
        gateway = spawn_gateway(DATABASE_URL=database_url)
    await gateway.ready(session)
    async with contextlib.AsyncExitStack() as held:
        lines = [await held.enter_async_context(connected(gateway.port)) for _ in range(300)]
        for reader, writer in lines:
            writer.write(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_sigterm_with_idle_and_waiting_clients(gateway: Gateway, api: Api) -> None:
    """Goal: idle connections don't hold the end up; who waits for an end state is answered at once."""
    await api.charge(42, 10)
    url = (await api.withdraw(42, 10)).json["status_url"]
    waiting = [asyncio.create_task(api.get(url, wait=30)) for _ in range(5)]
    async with connected(gateway.port):
        await api.get("/health/live")
        assert await asyncio.to_thread(gateway.stop) == 0
    assert not gateway.events("connections_cut"), "it waited for them until DRAIN_S_MAX"
    for reply in await asyncio.gather(*waiting):
        assert (reply.status, reply.json["status"]) == (200, "pending")
        assert reply.headers["connection"] == "close"


async def test_a_request_that_never_ends_is_cut(gateway: Gateway, api: Api) -> None:
    """Goal: a half-sent request does not hold the end up for ever."""
    head = b"POST /charge HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n"
    async with connected(gateway.port) as (_, half):
        half.write(head + b"{")
        await half.drain()
        await api.get("/health/live")
        assert await asyncio.to_thread(gateway.stop) == 0  # within STOP_S_MAX


async def test_two_share_a_port(
    start_gateway: StartGateway, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Goal: gateways share a port and their metrics; when one ends, the other goes on."""
    metrics = tmp_path / "prometheus"
    metrics.mkdir()
    shared = {"WBS_HTTP_PORT": str(free_port()), "PROMETHEUS_MULTIPROC_DIR": str(metrics)}
    first, second = [await start_gateway(**shared) for _ in range(2)]
    api = Api(first.url, session)
    replies = [await fresh(api) for _ in range(40)]
    prefixes = {reply.rpartition("-")[0] for reply in replies}
    assert len(prefixes) == 2
    line = b'wbs_http_requests_total{method="GET",route="/balance/{user_id}",status="200"} '

    async def summed() -> bool:
        metrics = (await api.get("/metrics")).body
        values = [float(one[len(line) :]) for one in metrics.splitlines() if one.startswith(line)]
        return values == [40.0]

    await poll_until(summed, what="both processes' answers in the metrics")
    assert await asyncio.to_thread(first.stop) == 0
    assert len({(await fresh(api)).rpartition("-")[0] for _ in range(10)}) == 1
    assert await asyncio.to_thread(second.stop) == 0


async def fresh(api: Api) -> str:
    """Ask for a balance on a new connection; return the request's id."""
    async with aiohttp.ClientSession() as session, session.get(f"{api.url}/balance/42") as reply:
        assert reply.status == 200
        return reply.headers["x-request-id"]


async def test_port_taken(spawn_gateway: Any, database_url: str) -> None:
    """Goal: for a port in use there is one clear sentence and an exit code."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        gateway = spawn_gateway(DATABASE_URL=database_url, WBS_HTTP_PORT=str(other.getsockname()[1]))
        assert await asyncio.to_thread(gateway.wait) == 1
    assert "in use" in gateway.events("can_not_listen")[0]["detail"]


async def test_killed_and_started_again(gateway: Gateway, api: Api, session: aiohttp.ClientSession) -> None:
    """Goal: after kill -9 nothing acknowledged is lost, and the port is free for the next one."""
    key = new_key()
    first = await api.charge(42, 10, idempotency_key=key)
    gateway.kill()
    gateway.start()
    await gateway.ready(session)
    assert (await api.charge(42, 10, idempotency_key=key)).body == first.body


async def test_memory(gateway: Gateway, api: Api) -> None:
    """Goal: a gateway that has served its pages and some thousand requests stays far below 120 MB."""
    for path in ("/docs/swagger-ui-bundle.js", "/openapi.json", "/metrics"):
        await api.get(path)
    items = [{"user_id": n, "amount": 1, "idempotency_key": new_key()} for n in range(1000)]
    for _ in range(5):
        await api.post("/charges", items)
    assert psutil.Process(gateway.pid).memory_info().rss < 120 * 1024 * 1024

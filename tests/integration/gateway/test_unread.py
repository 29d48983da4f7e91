"""Responses that are not read: whatever they are, their connections end in time, and hold little until then."""

import asyncio
import json
import socket
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path

import aiohttp
import psutil

from db.courier import CourierSession
from runtime.settings import Settings
from tests.integration.gateway.conftest import Api, Gateway, StartGateway, new_key
from tests.polling import poll_until
from wallet.events import KINDS

CHARGES = 1_000
EACH = 15
"""Connections of each kind."""
HELD_BYTES_MAX = 512 * 1024
"""By the kernel, for one connection: what was not sent, and what it needs to keep that."""
_NOT_OURS = {"0A", "05", "06"}
"""States of what listens, and of what has ended: all that was sent is with the client."""


def ask(target: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"{'POST' if body else 'GET'} {target} HTTP/1.1", "Host: localhost", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


LIST = ask("/transactions/7?limit=100")
FILE = ask("/wallets/7/entries", "Accept: text/csv")
KINDS_OF_RESPONSES = {
    "a short response, very often": ask("/health/live") * 2_000,
    "a list": LIST * 40,
    "a list that Sanic reads": ask("/transactions/7?limit=100", "X: ä") * 40,
    "a list, and nothing follows": LIST * 2,
    "a list, and the connection ends": LIST + ask("/transactions/7?limit=100", "Connection: close"),
    "a file": FILE * 40,
    "a file for HTTP/1.0": FILE.replace(b"/1.1", b"/1.0"),
    "a stream of events": ask("/events/stream?after=0"),
    "a long poll": ask("/events?after=0&wait=10&limit=1000") * 10,
    "a bulk of which all is refused": ask("/charges", body=b"[" + b",".join([b"{}"] * 999) + b"]") * 3,
}


def address_of(number: int) -> str:
    """Return the address from which responses of this kind are asked for."""
    return f"127.0.3.{1 + number}"


def connect(address: str) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    client.setblocking(False)
    client.bind((address, 0))
    return client


def held_by_the_kernel(gateway: Gateway) -> dict[str, list[int]]:
    """Return what the kernel keeps for each connection, in bytes, by address, those included that are closed here."""
    held: dict[str, list[int]] = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, queues, *_ = line.split()
        if int(local[-4:], 16) == gateway.port and state not in _NOT_OURS:
            address = socket.inet_ntoa(bytes.fromhex(remote[:8])[::-1])
            held.setdefault(address, []).append(int(queues.split(":")[0], 16))
    return held


def open_at(gateway: Gateway) -> set[str]:
    """Return the addresses from which the gateway has connections."""
    connections = psutil.Process(gateway.pid).net_connections("tcp")
    return {connection.raddr.ip for connection in connections if connection.raddr}


async def test_who_does_not_read_is_ended(
    start_gateway: StartGateway, session: aiohttp.ClientSession, settings: Settings
) -> None:
    """Goal: whatever is not read, its connection is cut in time, and nothing stays with us or the kernel.

    A client that reads slowly is served.
    """
    gateway = await start_gateway(WBS_AUTH="off")
    api = Api(gateway.url, session)
    items = [
        {"user_id": 7, "amount": 1, "idempotency_key": new_key(), "metadata": {"x": "y" * 500}}
        for _ in range(CHARGES)
    ]
    assert (await api.post("/charges", items)).status == 200
    await number_events(settings)
    loop = asyncio.get_running_loop()

    async def send(client: socket.socket, asks: bytes) -> None:
        with suppress(OSError):  # it may be cut before all was taken
            await loop.sock_connect(client, ("127.0.0.1", gateway.port))
            await loop.sock_sendall(client, asks)

    most: Counter[str] = Counter()
    left: list[str] = []
    kinds = {address_of(number): kind for number, kind in enumerate(KINDS_OF_RESPONSES)}

    def are_gone() -> bool:
        held = {kinds[at]: queues for at, queues in held_by_the_kernel(gateway).items() if at in kinds}
        most["connections"] = max(most["connections"], sum(map(len, held.values())))
        for kind, queues in held.items():
            most[kind] = max(most[kind], *queues, 0)
        open_here = {kinds[at] for at in open_at(gateway) & kinds.keys()}
        left[:] = sorted(open_here.union(held))
        return most["connections"] > 0 and not left

    with ExitStack() as stack:
        deaf = [
            (stack.enter_context(connect(address_of(number))), asks)
            for number, asks in enumerate(KINDS_OF_RESPONSES.values())
            for _ in range(EACH)
        ]
        slow = stack.enter_context(connect("127.0.0.3"))
        await loop.sock_connect(slow, ("127.0.0.1", gateway.port))
        await loop.sock_sendall(slow, LIST)
        sending = asyncio.gather(*(send(client, asks) for client, asks in deaf))
        got = b""
        while b'"next_cursor"' not in got:
            got += await loop.sock_recv(slow, 4096)
        with suppress(AssertionError):
            await poll_until(are_gone, 60)
        assert not left, "the connections of who does not read these are still open"
        await sending
        assert most.pop("connections") > 0.9 * len(deaf), most
        assert all(0 < most[kind] < HELD_BYTES_MAX for kind in KINDS_OF_RESPONSES), most
        await loop.sock_sendall(slow, ask("/health/live"))
        while b'"status"' not in got[-200:]:
            got += await loop.sock_recv(slow, 4096)
        assert json.loads(got.rsplit(b"\r\n\r\n", 1)[1])["status"] == "ok"
    cut = (await api.get("/metrics")).body.decode()
    assert 'wbs_connections_cut_total{reason="memory"} 0.0' in cut
    assert "Traceback" not in gateway.log.read_text()


async def number_events(settings: Settings) -> None:
    """Do what the courier does."""
    courier = CourierSession(settings.database, frozenset(KINDS))
    assert await courier.lead()
    while (await courier.number()).batches:
        pass
    await courier.close()

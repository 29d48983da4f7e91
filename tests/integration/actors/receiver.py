"""A server that webhooks are delivered to, and what rings at the actors in place of courier, relay and RabbitMQ."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import asyncpg
from aiohttp import web
from standardwebhooks import Webhook

from actors.webhook_turns import WebhookTurns
from db import events, webhook_turns


class Received(NamedTuple):
    """A call."""

    seq: int
    headers: dict[str, str]
    body: bytes

    def verify(self, secret: str) -> dict[str, Any]:
        """Return the message, if the official library finds the signature right."""
        message: dict[str, Any] = Webhook(secret).verify(self.body, self.headers)
        return message


Answering = Callable[[int], Awaitable[web.Response] | web.Response]


class Receiver:
    """Keeps what it is told; `answer` says what it answers."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answer: Answering = lambda _: web.Response(status=204)
        self.url = ""
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def seqs(self) -> list[int]:
        """Numbers of the events that were told, in the order of their arrival."""
        return [one.seq for one in self.received]

    async def start(self) -> "Receiver":
        """Listen, on the same port as before."""
        app = web.Application()
        app.router.add_post("/{path:.*}", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        if not self._port:
            self._port = self._runner.addresses[0][1]
            self.url = f"http://127.0.0.1:{self._port}/events"
        return self

    async def stop(self) -> None:
        """Listen no more."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        message = await request.json()
        seq = message.get("seq", 0)
        self.received.append(
            Received(seq, {name.lower(): value for name, value in request.headers.items()}, body)
        )
        answer = self.answer(seq)
        return answer if isinstance(answer, web.Response) else await answer


@asynccontextmanager
async def rung(connection: asyncpg.Connection, *processes: WebhookTurns) -> AsyncIterator[None]:
    """Number events, and tell each of some processes of endpoints with something to do, all the time."""

    stopped = asyncio.get_running_loop().create_future()

    async def ring() -> None:
        while True:
            await number(connection)
            await webhook_turns.ring(connection)
            ids = await webhook_turns.claim(connection, 100)
            await webhook_turns.told(connection, ids)
            for process in processes:
                for id in ids:
                    process.begin(id)
            await asyncio.wait([stopped], timeout=0.02)

    ringing = asyncio.create_task(ring())
    try:
        yield
    finally:
        ringing.cancel()
        with suppress(asyncio.CancelledError):
            await ringing


async def number(connection: asyncpg.Connection) -> int:
    """Give all events their numbers; return the last one."""
    while (numbered := await events.number_batches(connection, None)).batches:
        pass
    return numbered.last_seq


def in_order(seqs: Sequence[int]) -> bool:
    """Tell whether numbers ascend, repetitions of what was told before apart."""
    furthest = 0
    for seq in seqs:
        if seq > furthest + 1 and furthest:
            return False
        furthest = max(furthest, seq)
    return True

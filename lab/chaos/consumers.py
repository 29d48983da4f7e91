"""Consumers of the sequence of events: they follow it through the whole run and record what they are told.

One reads lists, one a stream, one is told by webhooks (`webhook_consumer`). The first two know only the number up to
which they have read, and go on after it at whatever gateway answers, as a client's program would. They reach the API
by a line of their own, which is cut like the others.
"""

import asyncio
import json
import random
from abc import abstractmethod
from typing import Any

import aiohttp
import msgspec

from lab.chaos.client import RecordingClient
from lab.chaos.consumer import Consumer
from lab.chaos.history import Call, HistoryWriter, Told, ToldTo
from lab.chaos.webhook_consumer import WebhookConsumer

_AGAIN_S = 0.2
_PAGE_TIMEOUT_S = 5.0
_SILENCE_S_MAX = 15.0
"""A stream says something every 10 s at least."""
_WAIT_S = 2
_NUMBERED_S = 2.0
"""What is committed has its number within this time, once nothing is wrong any more."""
_REACHED_S_MAX = 900.0
"""Longest wait for the consumers: an endpoint takes some hundred events per second, of some hundred thousand."""
_NEARER_S = 60.0
"""The turn of an actor that was killed at the end of the load is over after 15 s, and the endpoint is called again 10 s
later at most."""
_PAGE_MAX = 200


class _Event(msgspec.Struct):
    seq: int


class _Page(msgspec.Struct):
    events: list[msgspec.Raw]
    next_after: int


class _Reader(Consumer):
    """Reads the sequence from the API, starting again whenever something breaks, until it is told to stop."""

    def __init__(self, url: str, history: HistoryWriter) -> None:
        super().__init__(history)
        self._url = url
        self._session: aiohttp.ClientSession | None = None
        self._after: int | None = None

    @property
    def after(self) -> int | None:
        """The last number that it was told."""
        return self._after

    async def follow(self) -> None:
        """Follow the sequence for ever."""
        # No pool: each connection may meet another gateway.
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector) as self._session:
            while True:
                await self._follow_once()

    @abstractmethod
    async def _follow_once(self) -> None:
        """Receive what there is, and record it. Raises nothing."""

    def _go_on_after(self, number: int) -> None:
        self._after = number
        self._moved.set()

    def _told(self, body: bytes, number: str = "") -> None:
        self._history.write(Told(self.name, self._history.now(), body.decode("utf-8", "replace"), number))

    def _call(self, op: str, path: str, start: float, status: int, answer: bytes, error: str = "") -> None:
        """Record a call, whose answer is kept only if it is a refusal."""
        kept = answer.decode("utf-8", "replace") if status >= 400 else ""
        away = status == 503
        self._history.write(
            Call(
                op,
                start,
                self._history.now(),
                path=path,
                status=status,
                retry_after=away,
                answer=kept,
                error=error[:200],
            )
        )

    def _refused(self, answer: bytes) -> None:
        """Go on where the sequence begins, if the position is not there any more."""
        if b"events_gone" in answer:
            self._after = None


class ListConsumer(_Reader):
    """Reads page after page, waiting at the end."""

    name = "list"

    async def _follow_once(self) -> None:
        assert self._session is not None
        path = f"/events?limit={random.randint(1, _PAGE_MAX)}&wait={random.choice((0, _WAIT_S))}"
        if self.after is not None:
            path += f"&after={self.after}"
        start, status, answer, error = self._history.now(), 0, b"", ""
        try:
            async with (
                asyncio.timeout(_PAGE_TIMEOUT_S),
                self._session.get(self._url + path) as reply,
            ):
                answer, status = await reply.read(), reply.status
        except (TimeoutError, OSError, aiohttp.ClientError) as problem:
            status, error = 0, f"{type(problem).__name__}: {problem}"
        self._call("events", path, start, status, answer, error)
        if status == 200:
            page = msgspec.json.decode(answer, type=_Page)
            for event in page.events:
                self._told(bytes(event))
            self._go_on_after(page.next_after)
        else:
            self._refused(answer)
        if status != 200 or not page.events:
            await asyncio.sleep(_AGAIN_S)


class StreamConsumer(_Reader):
    """Reads a stream of server-sent events, as an EventSource does."""

    name = "stream"

    async def _follow_once(self) -> None:
        assert self._session is not None
        path = "/events/stream"
        headers = {} if self.after is None else {"Last-Event-ID": str(self.after)}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_PAGE_TIMEOUT_S, sock_read=_SILENCE_S_MAX)
        start, status, answer, error = self._history.now(), 0, b"", ""
        try:
            async with self._session.get(self._url + path, headers=headers, timeout=timeout) as reply:
                status = reply.status
                if status == 200:
                    await self._receive(reply.content)
                else:
                    answer = await reply.read()
        except (TimeoutError, OSError, aiohttp.ClientError) as problem:
            error = f"{type(problem).__name__}: {problem}"
        self._call("event_stream", path, start, status, answer, error)
        self._refused(answer)
        await asyncio.sleep(_AGAIN_S)

    async def _receive(self, lines: aiohttp.StreamReader) -> None:
        """Take events in until the stream ends. One that broke off in the middle does not count."""
        fields: dict[bytes, bytes] = {}
        async for line in lines:
            name, _, value = line.rstrip(b"\n").partition(b": ")
            if name:
                fields[name] = value
                continue
            if b"data" in fields:
                number = fields.get(b"id", b"").decode()
                self._told(fields[b"data"], number)
                self._go_on_after(int(number))
            fields = {}


NAMES = (ListConsumer.name, StreamConsumer.name, WebhookConsumer.name)


class Consumers:
    """All consumers of a run, as tasks."""

    def __init__(self, url: str, webhooks: WebhookConsumer, history: HistoryWriter) -> None:
        self._history = history
        self._webhooks = webhooks
        self.all: list[Consumer] = [ListConsumer(url, history), StreamConsumer(url, history), webhooks]
        self._tasks: list[asyncio.Task[Any]] = []

    async def start(self, client: RecordingClient) -> bool:
        """Begin to follow the sequence, while all is well; return whether all consumers do."""
        if not await self._webhooks.begin(client):
            return False
        self._tasks = [asyncio.create_task(consumer.follow()) for consumer in self.all]
        return True

    def behave(self) -> None:
        """Make no trouble from now on."""
        self._webhooks.behave()

    async def _come_near(self, reached: asyncio.Future[Any]) -> None:
        """Wait until all have reached the end, one has failed, or none has come nearer for a while."""
        ends_at = asyncio.get_running_loop().time() + _REACHED_S_MAX
        before: list[int | None] | None = None
        while (now := [one.after for one in self.all]) != before:
            before = now
            done, _ = await asyncio.wait(
                [reached, *self._tasks], timeout=_NEARER_S, return_when=asyncio.FIRST_COMPLETED
            )
            if done or asyncio.get_running_loop().time() > ends_at:
                return

    async def ask_again(self, client: RecordingClient) -> None:
        """Ask for what was refused and would otherwise come in some minutes only."""
        await self._webhooks.ask_again(client)

    async def read_to(self, number: int) -> None:
        """Wait until those who ask by themselves have everything up to this number. For one who waits at a time."""
        await asyncio.gather(*(one.reach(number) for one in self.all if one is not self._webhooks))

    async def finish(self, client: RecordingClient) -> str:
        """Wait until all are at the end of the sequence, and stop; return who is not there in time, or an empty text.

        All operations must have ended. Raises what a consumer has failed with.
        """
        await asyncio.sleep(_NUMBERED_S)
        await self.ask_again(client)
        call = await client.read("events", "/events?limit=1", cell="")
        number = json.loads(call.answer)["last_seq"] if call.status == 200 else 0
        reached = asyncio.gather(*(consumer.reach(number) for consumer in self.all))
        await self._come_near(reached)
        behind = [f"{one.name} at {one.after}" for one in self.all if (one.after or 0) < max(number, 1)]
        reached.cancel()
        self._history.write(ToldTo(self._history.now(), number))
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(reached, *self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
        await self._webhooks.end()
        return f"{number}: {', '.join(behind)}" if behind else ""

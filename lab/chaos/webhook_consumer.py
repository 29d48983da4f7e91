"""A consumer of webhooks: a small server that the actors call, and that does not always behave.

By the seed it refuses, hangs, asks to come later, or is not there at all, for some seconds each; once the load has
ended it takes everything. What it answers is recorded before it is sent: whether the answer arrives is another matter.
The actors reach it by a line of its own, which is cut like the others.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from random import Random

import msgspec
from aiohttp import web
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from lab.chaos.client import RecordingClient
from lab.chaos.consumer import Consumer
from lab.chaos.history import HistoryWriter, Told, Trouble
from lab.chaos.schedule import Deck

_WELL_S, _UNWELL_S, _DOWN_S = (2.0, 6.0), (0.5, 3.0), (3.0, 8.0)
_MOODS = ("refuse", "refuse", "hang", "later", "down")
_TAKEN = 204
_REFUSALS = (400, 401, 404, 500, 307)
_LATER = (429, 502, 503, 504)


class _Event(msgspec.Struct):
    seq: int
    id: str


class WebhookConsumer(Consumer):
    """Is told the sequence from where it stands when it is started."""

    name = "webhook"

    def __init__(self, seed: int, port: int, through: Callable[[str], str], history: HistoryWriter) -> None:
        """Listen on `port`, one that nobody else may take meanwhile. `through` returns the URL that the actors call."""
        super().__init__(history)
        self._port = port
        self._through = through
        self._random = Random(f"webhooks:{seed}")
        self._deck = Deck(self._random, _MOODS)
        self._mood = ""
        self._mood_ended = asyncio.Event()
        self._called = asyncio.Event()
        self._load_ended = asyncio.Event()
        self._id = self._secret = ""
        self._runner: web.AppRunner | None = None
        self._highest: int | None = None
        self._refused: set[int] = set()

    @property
    def after(self) -> int | None:
        """The number up to which it has taken everything; None: it has taken nothing yet."""
        return min(self._refused) - 1 if self._refused else self._highest

    async def begin(self, client: RecordingClient) -> bool:
        """Listen, and have an endpoint made, as long as all is well; return whether there is one."""
        await self._listen()
        url = self._through(f"http://127.0.0.1:{self._port}/events")
        made = await client.webhooks("", {"url": url})
        if made is not None:
            self._id, self._secret = made["id"], made["secret"]
        return made is not None

    async def ask_again(self, client: RecordingClient) -> None:
        """Ask for what it has refused and was not told again by now, instead of waiting for it for minutes."""
        for seq in sorted(self._refused):
            await client.webhooks(f"/{self._id}/redeliver", {"seq": seq})

    def behave(self) -> None:
        """Take everything from now on."""
        self._load_ended.set()
        self._called.set()

    async def follow(self) -> None:
        """Be in one mood after another until the load has ended; then take everything for ever.

        None is lost on nobody: each begins when there are calls.
        """
        while not await self._ended_within(self._random.uniform(*_WELL_S)):
            self._called.clear()
            await self._called.wait()
            self._mood, self._mood_ended = self._deck.deal(), asyncio.Event()
            if self._mood == "down":
                await self.end()
                await self._ended_within(self._random.uniform(*_DOWN_S))
                await self._listen()
            else:
                await self._ended_within(self._random.uniform(*_UNWELL_S))
            self._mood = ""
            self._mood_ended.set()
        await asyncio.Event().wait()

    async def end(self) -> None:
        """Listen no more."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _ended_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._load_ended.wait(), seconds)
        return self._load_ended.is_set()

    async def _listen(self) -> None:
        """Listen, on the same port each time."""
        app = web.Application()
        app.router.add_post("/events", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            Webhook(self._secret).verify(body, dict(request.headers.items()))
            event = msgspec.json.decode(body, type=_Event)
            if event.id != request.headers["webhook-id"]:
                raise ValueError(f"its webhook-id is {request.headers['webhook-id']}")
        except (WebhookVerificationError, ValueError) as problem:
            found = f"{type(problem).__name__}: {problem}, {body[:200]!r}"
            self._history.write(Trouble("webhook_unsigned", self._history.now(), "a signed event", found))
            return web.Response(status=400)
        self._called.set()
        if self._mood == "hang":
            await self._mood_ended.wait()
        status = self._status()
        self._note(event.seq, status)
        self._history.write(
            Told(self.name, self._history.now(), body.decode("utf-8", "replace"), answered=status)
        )
        return web.Response(status=status)

    def _status(self) -> int:
        return self._random.choice({"refuse": _REFUSALS, "later": _LATER}.get(self._mood, (_TAKEN,)))

    def _note(self, seq: int, status: int) -> None:
        if status == _TAKEN:
            self._refused.discard(seq)
            self._highest = max(seq, self._highest or 0)
            self._moved.set()
        elif seq > (self._highest or 0):
            self._refused.add(seq)

"""What all operations of the load have in common: they send requests, and remember what there is to do more with."""

import json
from collections import deque
from datetime import UTC, datetime, timedelta
from random import Random

from lab.chaos.client import RecordingClient
from lab.chaos.history import Call
from lab.chaos.requests import Request
from lab.chaos.wallets import Wallets

REMEMBERED_MAX = 2_000

ACCEPTED = {"withdraw": 202}
"""The status that says that a request took effect, where it is not 200."""


class Sending:
    """Sends requests and remembers those that were accepted, by operation."""

    def __init__(self, seed: int, client: RecordingClient, wallets: Wallets) -> None:
        self._seed = seed
        self._client = client
        self._wallets = wallets
        self._requests: deque[Request] = deque(maxlen=REMEMBERED_MAX)
        self._done: dict[str, deque[Call]] = {}

    def _key(self, number: int, part: int = 0) -> str:
        return f"{self._seed}-{number}-{part}"

    async def _send(self, request: Request) -> Call:
        call = await self._client.send(request)
        self._requests.append(request)
        if call.status == ACCEPTED.get(call.op, 200):
            self._accepted_by(call.op).append(call)
        return call

    def _accepted_by(self, op: str) -> deque[Call]:
        """Return the latest accepted requests of an operation, the oldest first."""
        return self._done.setdefault(op, deque(maxlen=REMEMBERED_MAX))

    def _recent(self, op: str, random: Random, most: int = 50) -> Call | None:
        """Draw one of the latest accepted requests of an operation."""
        accepted = self._accepted_by(op)
        return accepted[-random.randint(1, min(len(accepted), most))] if accepted else None


def soon(random: Random) -> str:
    """Draw an instant of the next 40 seconds."""
    seconds = random.choice((random.uniform(0.05, 1), random.uniform(1, 8), random.uniform(8, 40)))
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def id_of(accepted: Call, name: str = "id") -> str:
    """Return an identifier that the answer tells."""
    id: str = json.loads(accepted.answer)[name]
    return id

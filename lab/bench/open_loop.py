"""`python -m lab.bench.open_loop PLAN`: sends requests at a fixed pace, like users, who don't wait for each other.

A closed-loop generator stops sending while the service is slow, and so omits exactly the requests that would have
waited ("coordinated omission", Gil Tene). Here a request's latency counts from the moment when it was *due*, whether or
not a connection was free to send it then.

The generator is a process of its own with one event loop, prepared requests, and no parsing beyond the status and the
length, so that it leaves the machine to the measured service. Its own lateness is among the figures. Its first moments
are not: they measure 256 connections opened at once and Python code that has not run yet, not the service.
"""

import asyncio
import gc
import json
import os
import random
import re
import sys
from collections import Counter, deque
from collections.abc import Callable
from time import perf_counter
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop

from lab.bench.percentiles import percentile_ms

CONNECTIONS = 256
"""Maximum number of requests under way. Further due requests wait for a connection while their clocks run.

The connection that became free last is used first, as in clients' pools: most stay unused until something stalls.
"""

DRAIN_S = 15.0
"""Longest wait for the last answers."""

PERCENTILES = (0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 100)

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Generator:
    """Sends due requests, and remembers the time of each answer."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.latencies_s: list[float] = []
        self.failures: Counter[str] = Counter()
        """Number of failures, by status or `lost`."""
        self.lateness_s = 0.0
        """The longest time that this process itself was behind its plan."""
        self._per_s = float(plan["per_s"])
        self._warm_up_s = float(plan["warm_up_s"])
        self._measured_from = 0.0
        self._count = int(plan["requests"] or plan["per_s"] * (self._warm_up_s + plan["seconds"]))
        self._answered = 0
        make = request_maker(plan)
        self._requests = deque(make() for _ in range(self._count))
        self._idle: list[Connection] = []
        self._due: deque[float] = deque()
        self._finished = asyncio.Event()

    async def run(self, host: str, port: int) -> float:
        """Carry out the plan; return the seconds from the end of the warm-up to the last answer."""
        loop = asyncio.get_running_loop()
        for _ in range(min(CONNECTIONS, self._count)):
            _, connection = await loop.create_connection(lambda: Connection(self), host, port)
            self._idle.append(connection)
        started = perf_counter()
        self._measured_from = started + self._warm_up_s
        for number in range(self._count):
            due = started + number / self._per_s
            if (ahead := due - perf_counter()) > 0:
                await asyncio.sleep(max(0.001, ahead))
                while perf_counter() < due:  # noqa: ASYNC110 - timers count whole milliseconds, and may be early
                    await asyncio.sleep(0)
            elif due >= self._measured_from:
                self.lateness_s = max(self.lateness_s, -ahead)
            self._due.append(due)
            self._send()
            if number % 64 == 0:
                await asyncio.sleep(0)  # when behind, let the loop read answers
        async with asyncio.timeout(DRAIN_S):
            await self._finished.wait()
        return perf_counter() - self._measured_from

    def _send(self) -> None:
        while self._due and self._idle:
            self._idle.pop().send(self._due.popleft(), self._requests.popleft())

    def answered(self, connection: "Connection", due: float, status: bytes) -> None:
        """Take an answer in, and use the connection again."""
        if due >= self._measured_from:
            self.latencies_s.append(perf_counter() - due)
        self._answered += 1
        if not status.startswith(b"2"):
            self.failures[status.decode("ascii", "replace")] += 1
        self._idle.append(connection)
        self._send()
        self._check_end()

    @property
    def unanswered(self) -> int:
        """Number of the plan's requests that were neither answered nor lost."""
        return self._count - self._answered

    def lost(self) -> None:
        """Note a connection that broke before its answer came."""
        self.failures["lost"] += 1
        self._answered += 1
        self.latencies_s.append(DRAIN_S)
        self._check_end()

    def _check_end(self) -> None:
        if self.unanswered <= 0:
            self._finished.set()


class Connection(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._due: float | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note that the connection is open."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is no subclass

    def send(self, due: float, request: bytes) -> None:
        """Send a request that was due at this time."""
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Collect until the answer is whole."""
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = _LENGTH.search(head)
        if length is None or len(body) < int(length.group(1)):
            return
        assert self._due is not None
        due, self._due, self._buffer = self._due, None, b""
        self._generator.answered(self, due, head[9:12])

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is gone, and with it the answer that was waited for."""
        if self._due is not None:
            self._due = None
            self._generator.lost()


def request_maker(plan: dict[str, Any]) -> Callable[[], bytes]:
    """Return a function that makes the plan's requests: for random wallets, each with its own key."""
    draw = random.Random(plan["seed"])
    first, last = plan["first_user"], plan["first_user"] + plan["users"] - 1
    authorization = f"Authorization: Bearer {os.environ.get('BENCH_API_KEY', '')}\r\n"
    path = {"charge": "/charge", "withdraw": "/withdraw", "noop": "/noop"}[plan["kind"]]
    amount = (1, 9) if plan["kind"] == "withdraw" else (100, 999)

    def make() -> bytes:
        body = (
            f'{{"user_id":{draw.randint(first, last)},"amount":{draw.randint(*amount)},'
            f'"idempotency_key":"{draw.getrandbits(128):032x}"}}'
        )
        return (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    return make


async def carry_out(plan: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a plan."""
    url = urlsplit(plan["url"])
    generator = Generator(plan)
    try:
        seconds = await generator.run(url.hostname or "127.0.0.1", url.port or 80)
    except TimeoutError:
        return {"requests": len(generator.latencies_s), "failures": {"no answer": generator.unanswered}}
    ordered = sorted(generator.latencies_s)
    return {
        "requests": len(ordered),
        "failures": generator.failures,
        "seconds": seconds,
        "p50_ms": percentile_ms(ordered, 50),
        "p99_ms": percentile_ms(ordered, 99),
        "mean_ms": sum(ordered) / len(ordered) * 1000,
        "detail": {
            "percentiles_ms": [
                [percent, round(percentile_ms(ordered, percent), 3)] for percent in PERCENTILES
            ],
            "generator_late_ms_max": round(generator.lateness_s * 1000, 3),
        },
    }


def main() -> None:
    """Carry out the plan given as JSON, and print the figures as JSON."""
    gc.disable()  # a pause of ours would look like one of the service
    print(json.dumps(uvloop.run(carry_out(json.loads(sys.argv[1])))))


if __name__ == "__main__":
    main()

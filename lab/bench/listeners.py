"""`python -m lab.bench.listeners PLAN`: many clients that follow the stream of events, in a process of their own.

It prints `listening` once all are connected, and waits for a line with the number of the last event. When every client
was told that one, or the time is over, it prints the figures as JSON. The lag of an event counts from the instant when
it took effect (`at`, by the same machine's clock) until the first client has its bytes.
"""

import asyncio
import gc
import json
import os
import re
import sys
import time
from datetime import datetime
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop

from lab.bench.percentiles import percentile_ms

CONNECT_AT_ONCE = 50
_ID = re.compile(rb"^id: (\d+)$", re.MULTILINE)
_AT = re.compile(rb'"at":"([^"]+)"')


class Listener(asyncio.Protocol):
    """One client: it counts what it is told, and the first of them measures lags."""

    def __init__(self, request: bytes, lags_s: list[float] | None) -> None:
        self._request = request
        self._lags_s = lags_s
        self._rest = b""
        self.told = 0
        self.first = self.last = 0
        self.listening: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.broken = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        cast(asyncio.Transport, transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        """Count the events that are complete."""
        if not self.listening.done():
            self.listening.set_result(data[9:12])
        whole, separator, self._rest = (self._rest + data).rpartition(b"\n\n")
        if not separator:
            return
        numbers = _ID.findall(whole)
        if numbers:
            self.told += len(numbers)
            self.first = self.first or int(numbers[0])
            self.last = int(numbers[-1])
        if self._lags_s is not None:
            now = time.time()
            self._lags_s += [
                now - datetime.fromisoformat(at.decode()).timestamp() for at in _AT.findall(whole)
            ]

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the stream has ended, which it should not."""
        self.broken = True
        if not self.listening.done():
            self.listening.set_result(b"")


def _same(listener: Listener) -> Listener:
    return listener


async def carry_out(plan: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a plan: `url`, `clients`, `after`, and how many `seconds` they may be behind at the end."""
    url = urlsplit(plan["url"])
    loop = asyncio.get_running_loop()
    request = (
        f"GET /events/stream HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {plan['after']}\r\n"
        f"Authorization: Bearer {os.environ.get('BENCH_API_KEY', '')}\r\n\r\n"
    ).encode()
    lags_s: list[float] = []
    listeners: list[Listener] = []
    while len(listeners) < plan["clients"]:
        some: list[Listener] = []
        for _ in range(min(CONNECT_AT_ONCE, plan["clients"] - len(listeners))):
            measures = lags_s if not listeners and not some else None
            listener = Listener(request, measures)
            await loop.create_connection(partial(_same, listener), url.hostname, url.port)
            some.append(listener)
        statuses = await asyncio.gather(*(listener.listening for listener in some))
        if set(statuses) != {b"200"}:
            return {"refused": sorted({status.decode() for status in statuses})}
        listeners += some
    print("listening", flush=True)
    until = int(await loop.run_in_executor(None, sys.stdin.readline))
    deadline = loop.time() + plan["seconds"]
    while loop.time() < deadline:
        if all(listener.last >= until for listener in listeners):
            break
        await asyncio.sleep(0.02)
    behind_s = plan["seconds"] - max(deadline - loop.time(), 0.0)
    lags_s.sort()
    wanted = until - plan["after"]
    return {
        "clients": len(listeners),
        "events": wanted,
        "complete": sum(one.told == wanted and one.last == until for one in listeners),
        "broken": sum(listener.broken for listener in listeners),
        "behind_s": round(behind_s, 3),
        "p50_ms": percentile_ms(lags_s, 50),
        "p99_ms": percentile_ms(lags_s, 99),
    }


def main() -> None:
    """Carry out the plan given as JSON, and print the figures as JSON."""
    gc.disable()
    print(json.dumps(uvloop.run(carry_out(json.loads(sys.argv[1])))))


if __name__ == "__main__":
    main()

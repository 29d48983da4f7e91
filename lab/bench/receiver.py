"""`python -m lab.bench.receiver`: a receiver of webhooks that takes everything, in a process of its own.

It prints its port once it listens, and at the end of its input, as JSON, how many events it was told and how late: the
lag of an event counts from the instant when it took effect (`at`, by the same machine's clock) until all of it is here.
"""

import asyncio
import gc
import json
import sys
import time
from datetime import datetime

import msgspec
import uvloop
from aiohttp import web

from lab.bench.percentiles import percentile_ms


class _Event(msgspec.Struct):
    seq: int
    at: datetime


_decode = msgspec.json.Decoder(_Event).decode


async def receive() -> dict[str, float]:
    """Take events until the end of the input; return the figures."""
    lags_s: dict[int, float] = {}

    async def take(request: web.Request) -> web.Response:
        event = _decode(await request.read())
        lags_s.setdefault(event.seq, time.time() - event.at.timestamp())
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()
    ordered = sorted(lags_s.values())
    return {
        "events": len(ordered),
        "p50_ms": percentile_ms(ordered, 50),
        "p99_ms": percentile_ms(ordered, 99),
    }


def main() -> None:
    """Receive, and print the figures as JSON."""
    gc.disable()
    print(json.dumps(uvloop.run(receive())))


if __name__ == "__main__":
    main()

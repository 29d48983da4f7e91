"""A client that only wants to be served: `python -m lab.attack.bystander PLAN`; charges as fast as it is answered.

It ends with its standard input, then prints how many charges were answered with which status, how many of them with
200 since the first line that it was told (the attack begins), and in how many seconds.
"""

import asyncio
import json
import sys
import threading
import time
from collections import Counter
from typing import Any
from uuid import uuid4

import aiohttp

TIMEOUT_S = 30.0


async def charge_on(plan: dict[str, Any], statuses: Counter[str], stop: asyncio.Event) -> None:
    """Send charges one after the other, over some connections, until told to stop."""
    headers = {"authorization": f"Bearer {plan['key']}"}
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:

        async def one_after_the_other(number: int) -> None:
            while not stop.is_set():
                order = {"user_id": f"bystander-{number}", "amount": 1, "idempotency_key": uuid4().hex}
                try:
                    async with session.post(f"{plan['api']}/charge", json=order) as answer:
                        await answer.read()
                        statuses[str(answer.status)] += 1
                except (aiohttp.ClientError, TimeoutError) as error:
                    statuses[type(error).__name__] += 1

        await asyncio.gather(*(one_after_the_other(number) for number in range(plan["connections"])))


async def run(plan: dict[str, Any]) -> dict[str, Any]:
    """Charge until the standard input ends; return the figures."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    statuses: Counter[str] = Counter()
    marks: list[tuple[float, int]] = []

    def mark() -> None:
        marks.append((time.monotonic(), statuses["200"]))

    def listen() -> None:
        sys.stdin.readline()
        loop.call_soon_threadsafe(mark)
        sys.stdin.read()
        loop.call_soon_threadsafe(mark)
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=listen, daemon=True).start()
    await charge_on(plan, statuses, stop)
    (began, before), (ended, after) = marks
    return {"statuses": statuses, "charges": after - before, "seconds": ended - began}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(json.loads(sys.argv[1])))))

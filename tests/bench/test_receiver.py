"""The receiver of webhooks tells how late events came."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from datetime import UTC, datetime, timedelta

import aiohttp


async def test_lags_are_those_of_first_arrivals() -> None:
    """Goal: each event counts once, from the instant when it took effect."""
    module = (sys.executable, "-P", "-m", "lab.bench.receiver")
    process = await asyncio.create_subprocess_exec(*module, stdin=PIPE, stdout=PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    url = f"http://127.0.0.1:{int(await process.stdout.readline())}/"
    now = datetime.now(UTC)
    lags_s = {1: 10, 2: 20, 3: 3600}
    async with aiohttp.ClientSession() as session:
        for seq in (1, 2, 3, 3, 2):
            event = {"seq": seq, "at": (now - timedelta(seconds=lags_s[seq])).isoformat()}
            async with session.post(url, data=json.dumps(event)) as answer:
                assert answer.status == 204
    process.stdin.close()
    told = json.loads(await process.stdout.read())
    await process.wait()
    assert told["events"] == len(lags_s)
    assert 20 <= told["p50_ms"] / 1000 < 3600 <= told["p99_ms"] / 1000

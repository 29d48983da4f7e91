"""The open-loop generator sends a request when it is due, independent of the answers, and counts from then."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from lab.bench import load
from tests.tcp import serving

REQUESTS = 40
PER_S = 200.0
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}"


@asynccontextmanager
async def server(answer: Callable[[int], bytes | None], *, hold: int = 0) -> AsyncIterator[str]:
    """Answers the n-th request by `answer(n)`, none before the first `hold` have come; None breaks the connection."""
    came = 0
    enough = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal came
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.rpartition(b"Content-Length: ")[2]))
                number, came = came, came + 1
                if came >= hold:
                    enough.set()
                await enough.wait()
                if (data := answer(number)) is None:
                    break
                writer.write(data)
        writer.transport.abort()

    async with serving(serve) as port:
        yield f"http://127.0.0.1:{port}"


async def ask(url: str, warm_up_s: float = 0.0) -> load.Sample:
    """Let the generator carry out REQUESTS at PER_S, as the benchmark does: in a process of its own."""
    seconds = REQUESTS / PER_S - warm_up_s
    return await asyncio.to_thread(load.open_loop, url, "charge", PER_S, seconds, warm_up_s=warm_up_s)


async def test_a_service_that_stalls_is_asked_all_the_same() -> None:
    """Goal: no coordinated omission. All are sent before any is answered, and each has waited since it was due."""
    async with server(lambda _: OK, hold=REQUESTS) as url:
        sample = await ask(url)
    # The n-th was due n / PER_S after the first, and none was answered before the last had come.
    assert sample.p50_ms >= (REQUESTS / 2 - 1) / PER_S * 1000
    assert sample.p99_ms >= (REQUESTS - 1) / PER_S * 1000


async def test_what_was_due_while_warming_up_does_not_count() -> None:
    """Goal: the rate is that of the other half alone, at the pace it was due."""
    half = REQUESTS // 2
    async with server(lambda _: OK) as url:
        sample = await ask(url, warm_up_s=half / PER_S)
    assert sample.per_s <= PER_S * half / (half - 1)  # from the first that is due to the last: half - 1 steps


@pytest.mark.parametrize(("broken", "told"), [(REFUSED, "'503': 1"), (None, "'lost': 1")])
async def test_a_run_with_a_failure_has_no_figures(broken: bytes | None, told: str) -> None:
    """Goal: one answer that is no success, or none at all, and what was measured proves nothing."""
    async with server(lambda number: broken if number == 3 else OK) as url:
        with pytest.raises(load.InvalidRun, match=told):
            await ask(url)

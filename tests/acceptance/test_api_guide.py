"""The client that docs/API.md offers for copying, run as it stands there against a real stack."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.service import Service, Split
from tests.tcp import connected, serving

ROOT = Path(__file__).parents[2]
UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)


def python_blocks() -> list[str]:
    """Return the guide's Python: first the client, then how it is used."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "API.md").read_text(), re.DOTALL)


def client_of(api: str) -> dict[str, Any]:
    """Return the names that the guide's client defines, for an API at this address."""
    source = python_blocks()[0]
    assert '"http://localhost:8080"' in source
    names: dict[str, Any] = {}
    exec(compile(source.replace("http://localhost:8080", api), "docs/API.md", "exec"), names)
    return names


@asynccontextmanager
async def lossy(api: str) -> AsyncIterator[str]:
    """A way to the API that lets one request in four through whole; of the others the client hears nothing good.

    One is cut off before it arrives, one after it has taken effect, one is answered 503 although it has.
    """
    fates = itertools.cycle(("before", "after", "503", "through"))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fate = next(fates)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        body = await reader.readexactly(int(length[1]) if length else 0)
        if fate != "before":
            async with connected(api) as (answer, onward):
                onward.write(head + body)
                whole = await answer.read()
            if fate != "after":
                writer.write(UNAVAILABLE if fate == "503" else whole)
                await writer.drain()

    async with serving(serve) as port:
        yield f"http://127.0.0.1:{port}"


async def test_the_client_survives_a_lossy_network(service: Service) -> None:
    """Goal: with the guide's client everything takes effect once, though three of four answers are lost."""
    user = service.user
    async with lossy(service.stack.urls["api"]) as api:
        client = client_of(api)
        await asyncio.to_thread(client["charge"], user, 5000, f"{user}-order")
        accepted = await asyncio.to_thread(client["withdraw"], user, 1200, f"{user}-payout", "DE00")
        ended = await asyncio.to_thread(client["outcome"], accepted["withdrawal_id"])
        listed = await asyncio.to_thread(lambda: list(client["transactions"](user)))
    assert ended["status"] == "completed"
    assert [item["amount"] for item in listed] == [-1200, 5000]
    assert await service.split() == Split(3800)


async def test_the_client_hears_a_refusal(service: Service) -> None:
    """Goal: a refusal reaches the caller with its code, at once, and is not sent again."""
    client = client_of(service.stack.urls["api"])
    withdraw = client["withdraw"]
    with pytest.raises(client["Refused"]) as refused:
        await asyncio.to_thread(withdraw, service.user, 1, f"{service.user}-too-much", "DE00")
    assert refused.value.code == "insufficient_funds"


async def test_the_client_gives_up(service: Service) -> None:
    """Goal: without any answer the caller learns that the request may have taken effect, and gets its result later."""
    async with lossy(service.stack.urls["api"]) as api:
        client = client_of(api)
        body = {"user_id": service.user, "amount": 70, "idempotency_key": f"{service.user}-patience"}
        for _ in range(2):
            with pytest.raises(client["Unanswered"]):
                await asyncio.to_thread(client["call"], "POST", "/charge", body, 0)
    charge = client_of(service.stack.urls["api"])["charge"]
    answer = await asyncio.to_thread(charge, service.user, 70, body["idempotency_key"])
    assert answer["amount"] == 70
    assert await service.split() == Split(70)


async def test_the_example_pays(service: Service, capsys: Any) -> None:
    """Goal: the guide's example of use prints the end of a withdrawal."""
    client = client_of(service.stack.urls["api"])
    example = python_blocks()[1]
    for literal in ("carol", "order-7001", "payout-9001"):
        assert f'"{literal}"' in example
        example = example.replace(f'"{literal}"', f'"{service.user}-{literal}"')
    await asyncio.to_thread(exec, compile(example, "docs/API.md", "exec"), client)
    assert capsys.readouterr().out == "completed\n"

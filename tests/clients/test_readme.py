"""The README of the Python client: its code runs as it stands there against a real stack, and says what it says."""

import asyncio
import re
from contextlib import redirect_stdout
from datetime import UTC, datetime
from io import StringIO
from itertools import combinations
from pathlib import Path
from typing import Any

from standardwebhooks.webhooks import Webhook

from tests.service import Service
from wbs_client import AsyncClient, Client

ROOT = Path(__file__).parents[2]
README = ROOT / "clients" / "python" / "README.md"


def blocks() -> list[tuple[str, str]]:
    """Return each piece of code, and what it prints."""
    found = re.findall(r"```python\n(.*?)```\n(?:```text\n(.*?)```\n)?", README.read_text(), re.DOTALL)
    return [(code, said) for code, said in found]


def placed(code: str, api: str, prefix: str) -> str:
    """Return the code with the stack's address, and users and keys of the test's own."""
    assert "SECRET" not in code
    code = code.replace("http://localhost:8080", api).replace(
        'idempotency_key="', f'idempotency_key="{prefix}-'
    )
    for user in ("buyer", "seller", "fees", "bob"):
        code = code.replace(f'"{user}"', f'"{prefix}-{user}"')
    return code


def run(code: str, names: dict[str, Any]) -> str:
    """Run code; return what it printed."""
    said = StringIO()
    with redirect_stdout(said):
        exec(compile(code, README.name, "exec"), names)
    return said.getvalue()


async def test_the_code_does_what_it_says(service: Service) -> None:
    """Goal: a newcomer pays a seller in ten lines; every example prints what the README says, the first one twice."""
    names: dict[str, Any] = {}
    pieces = [(placed(code, service.stack.urls["api"], service.user), said) for code, said in blocks()]
    assert len(pieces) >= 6
    assert len(pieces[0][0].splitlines()) <= 10
    for code, said in [pieces[0], *pieces]:
        assert await asyncio.to_thread(run, code, names) == said
    receives(names["receive"])


def test_no_key_stands_for_two_requests() -> None:
    """Goal: on one stack a newcomer tries the README's tour, its Python, the client's README and the API guide."""
    readme, guide = ((ROOT / name).read_text() for name in ("README.md", "docs/API.md"))
    tour, python = readme.split("```python", 1)
    sources = {
        "tour": tour,
        "Python": python,
        "client": "".join(code for code, _ in blocks()),
        "guide": guide,
    }
    found = {
        name: set(re.findall(r'idempotency_key"?[=:] ?"([^"]+)"', text)) for name, text in sources.items()
    }
    assert all(found.values())
    for one, other in combinations(found, 2):
        assert not found[one] & found[other], (one, other)


async def test_the_first_screen_does_what_it_says(service: Service) -> None:
    """Goal: so does the code in the repository's own README."""
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    said = await asyncio.to_thread(run, placed(code, service.stack.urls["api"], service.user), {})
    assert said == "completed\n"


def receives(receive: Any) -> None:
    """The endpoint takes what is signed, and nothing else."""
    secret = "whsec_" + "c2VjcmV0" * 4
    body = (
        '{"epoch": "5f0c1b2a-9d3e-4f60-8000-2d1f6b7a9c01", "seq": 7, "id": "0199d3c0-8b2f-7d10-8000-5be1c0ffee01",'
        '"type": "charge.completed", "version": 1, "at": "2026-11-28T00:00:00Z", "user_ids": [42], "currency": "USD",'
        '"by": null, "object": {}, "new": 1}'
    )
    now = datetime.now(UTC)
    headers = {
        "Webhook-Id": "0199d3c0-8b2f-7d10-8000-5be1c0ffee01",
        "Webhook-Timestamp": str(int(now.timestamp())),
        "Webhook-Signature": Webhook(secret).sign("0199d3c0-8b2f-7d10-8000-5be1c0ffee01", now, body),
    }
    said = StringIO()
    with redirect_stdout(said):
        assert receive(headers, body.encode(), secret) == 204
    assert said.getvalue() == "7 charge.completed\n"
    others = {"Webhook-Signature": "v1"}, {"Webhook-Signature": "v1,AAAA"}, {"Webhook-Timestamp": "1"}
    for wrong in others:
        assert receive({**headers, **wrong}, body.encode(), secret) == 400
    assert receive({}, body.encode(), secret) == 400
    assert receive(headers, body.replace("7", "8").encode(), secret) == 400
    assert receive(headers, body.encode(), "whsec_" + "b3RoZXI=") == 400


def test_it_lists_every_method() -> None:
    """Goal: a reader finds each method, and both clients have all of them."""
    table = README.read_text().rpartition("## All methods")[2]
    internal = {"send", "walk", "follow", "close"}
    methods = {name for name in vars(Client) if not name.startswith("_")} - internal
    assert set(re.findall(r"`(\w+)`", table)) == methods
    assert {name for name in vars(AsyncClient) if not name.startswith("_")} - internal - {"aclose"} == methods

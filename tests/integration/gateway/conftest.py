"""Real gateway processes on real ports, and a client that speaks plain HTTP to them."""

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from tests.conftest import PATIENT, copy_of, execute, with_database
from tests.integration.actors.processes import Process
from tests.polling import poll_until
from tests.ports import free_port
from tests.story import EVENT_STREAM
from tests.tcp import connected

START_S_MAX = 60.0
COUNTS = (
    "select (select count(*) from transfers), (select count(*) from withdrawals),"
    " (select count(*) from idempotency_keys)"
)
_keys = itertools.count(1)


def new_key() -> str:
    """An idempotency key that no other request has."""
    return f"key-{next(_keys)}"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a call was answered."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The problem's code."""
        assert self.headers["content-type"] == "application/problem+json", self
        problem = self.json
        assert problem["status"] == self.status
        assert problem["request_id"] == self.headers["x-request-id"]
        code: str = problem["code"]
        return code

    @property
    def bad_fields(self) -> set[str]:
        """The fields that a validation_failed names."""
        assert (self.status, self.code) == (422, "validation_failed"), self
        return {error["field"] for error in self.json["errors"]}


class Api:
    """The calls a client makes."""

    def __init__(
        self, url: str, session: aiohttp.ClientSession, headers: dict[str, str] | None = None
    ) -> None:
        self.url = url
        self._session = session
        self._headers = headers or {}

    def with_headers(self, **headers: str) -> "Api":
        """The same client, sending these headers with each call (`_` stands for `-`)."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        return Api(self.url, self._session, {**self._headers, **more})

    async def call(self, method: str, path: str, **kwargs: Any) -> Reply:
        """Send a request and read all of the answer, but of one that never ends: that one has an empty body here."""
        kwargs["headers"] = {**self._headers, **kwargs.get("headers", {})}
        async with self._session.request(method, self.url + path, allow_redirects=False, **kwargs) as reply:
            body = b"" if reply.content_type == EVENT_STREAM else await reply.read()
            return Reply(reply.status, reply.headers, body)

    async def get(self, path: str, **query: Any) -> Reply:
        return await self.call("GET", path, params={name: str(value) for name, value in query.items()})

    async def post(self, path: str, body: Any = None, **kwargs: Any) -> Reply:
        return await self.call("POST", path, json=body, **kwargs)

    async def charge(self, user_id: int | str = 42, amount: int = 100, **fields: Any) -> Reply:
        body = {"user_id": user_id, "amount": amount, "idempotency_key": new_key(), **fields}
        return await self.post("/charge", body)

    async def withdraw(self, user_id: int | str = 42, amount: int = 100, **fields: Any) -> Reply:
        body = {"user_id": user_id, "amount": amount, "idempotency_key": new_key(), **fields}
        return await self.post("/withdraw", body)

    async def balance(self, user_id: int | str = 42) -> dict[str, int]:
        """A wallet's split in the default currency."""
        reply = await self.get(f"/balance/{user_id}")
        assert reply.status == 200, reply
        return {name: reply.json[name] for name in ("total", "withdrawable", "locked", "held")}


class Gateway(Process):
    """`python -m gateway`."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.port = int(environment.get("WBS_HTTP_PORT") or free_port())
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__("gateway", folder, {**environment, "WBS_HTTP_PORT": str(self.port)})

    async def ready(self, session: aiohttp.ClientSession) -> "Gateway":
        """Wait until it answers (Postgres may be away)."""

        async def answers() -> bool:
            assert self.running, f"the gateway ended:\n{self.log.read_text()}"
            if not self.events("gateway_ready"):
                return False  # another one on the same port might answer
            try:
                async with session.get(f"{self.url}/health/live") as reply:
                    return reply.status == 200
            except aiohttp.ClientError:
                return False

        await poll_until(answers, START_S_MAX, what="the gateway answers")
        return self

    def events(self, event: str) -> list[dict[str, Any]]:
        """The log's lines of this event."""
        lines = [
            json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line[-1] == "\n"
        ]
        return [line for line in lines if line["event"] == event]


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=40)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        yield session


@pytest.fixture
def spawn_gateway(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """`spawn_gateway(DATABASE_URL=…)`: a gateway process, not waited for."""
    started: list[Gateway] = []

    def spawn(**environment: str) -> Gateway:
        folder = tmp_path / f"gateway-{len(started)}"
        folder.mkdir()
        gateway = Gateway(folder, environment)
        started.append(gateway)
        gateway.start()
        return gateway

    yield spawn
    for gateway in started:
        gateway.ensure_gone()


StartGateway = Callable[..., Any]


@pytest.fixture
def start_gateway(
    spawn_gateway: Callable[..., Gateway], database_url: str, session: aiohttp.ClientSession
) -> StartGateway:
    """`await start_gateway(WBS_AUTH=…)`: a gateway that answers, on the test's database."""

    async def start(**environment: str) -> Gateway:
        return await spawn_gateway(**{**PATIENT, "DATABASE_URL": database_url, **environment}).ready(session)

    return start


@pytest_asyncio.fixture
async def gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway with the default settings, but patient."""
    gateway: Gateway = await start_gateway()
    return gateway


@pytest_asyncio.fixture
async def api(gateway: Gateway, session: aiohttp.ClientSession) -> Api:
    """A client of that gateway."""
    return Api(gateway.url, session)


@pytest.fixture(scope="module")
def shared_database_url(postgres_url: str, template_database: str) -> Iterator[str]:
    """A database of the module's tests together."""
    name = f"wbs_test_{os.getpid()}_gateway_{free_port()}"
    asyncio.run(execute(postgres_url, copy_of(template_database, name)))
    yield with_database(postgres_url, name)
    asyncio.run(execute(postgres_url, f"drop database {name} with (force)"))


@pytest.fixture(scope="module")
def fast_path() -> str:
    """WBS_FAST_PATH of the shared gateway; a module that tests both ways overrides it."""
    return "1"


@pytest.fixture(scope="module")
def shared_environment() -> dict[str, str]:
    """Settings of the shared gateway beside the usual ones; a module that needs any overrides it."""
    return {}


@pytest.fixture(scope="module")
def shared_gateway(
    shared_database_url: str,
    fast_path: str,
    shared_environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gateway]:
    """One gateway for the module's tests that need neither a fresh database nor settings of their own."""
    environment = {**PATIENT, "DATABASE_URL": shared_database_url, "WBS_FAST_PATH": fast_path}
    environment |= shared_environment
    gateway = Gateway(tmp_path_factory.mktemp("shared"), environment)
    gateway.start()
    yield gateway
    gateway.ensure_gone()


@pytest_asyncio.fixture
async def shared_api(shared_gateway: Gateway, session: aiohttp.ClientSession) -> Api:
    """A client of the shared gateway."""
    await shared_gateway.ready(session)
    return Api(shared_gateway.url, session)


@pytest_asyncio.fixture
async def nothing_moves(shared_database_url: str) -> AsyncIterator[None]:
    """The test leaves the shared books as they were."""
    connection = await asyncpg.connect(shared_database_url, timeout=10)
    before = await connection.fetchrow(COUNTS)
    yield
    assert await connection.fetchrow(COUNTS) == before
    await connection.close(timeout=10)


@pytest.fixture
def movements(connection: asyncpg.Connection) -> Callable[[], Any]:
    """`await movements()`: how many transfers, withdrawals and used keys there are."""

    async def count() -> tuple[int, int, int]:
        return tuple(await connection.fetchrow(COUNTS))

    return count


async def with_key(gateway: Gateway, session: aiohttp.ClientSession, secret: str) -> Api:
    """Return a client with this key, once the gateway knows it."""
    api = Api(gateway.url, session).with_headers(authorization=f"Bearer {secret}")

    async def is_known() -> bool:
        return (await api.get("/metrics")).status in (200, 403)

    await gateway.ready(session)
    await poll_until(is_known, what="the gateway knows the key", interval_s=0.3)
    return api


async def together(*calls: Any) -> list[Reply]:
    """Make all calls at once."""
    return list(await asyncio.gather(*calls))


async def raw_request(api: Api, data: bytes, *, close: bool = True) -> bytes:
    """Send bytes, return what comes until the connection ends."""
    if close:
        data = data.replace(b"host: localhost\r\n", b"host: localhost\r\nconnection: close\r\n")
    async with connected(api.url) as (reader, writer):
        writer.write(data)
        return await reader.read()

"""Banks, brokers and processes for the tests of the actors."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from actors.bank.http import HttpBank
from actors.bank.protocol import PayoutOrder
from tests.integration.actors.fault_server import FaultServer
from tests.integration.actors.pipeline import COMPRESSED, Pipeline
from tests.integration.actors.processes import BankProcess


@pytest_asyncio.fixture
async def fault_server() -> AsyncIterator[FaultServer]:
    """A bank that misbehaves to order."""
    server = FaultServer()
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture
async def bank(fault_server: FaultServer) -> AsyncIterator[HttpBank]:
    """Our client to that bank. It waits longer than any machine stalls."""
    bank = HttpBank(fault_server.url, timeout_ms=60_000, connect_timeout_ms=30_000, connections_max=4)
    yield bank
    await bank.close()


@pytest_asyncio.fixture
async def hasty_bank(fault_server: FaultServer) -> AsyncIterator[HttpBank]:
    """The same, soon out of patience with a bank that hangs."""
    bank = HttpBank(fault_server.url, timeout_ms=1500, connect_timeout_ms=1400, connections_max=4)
    yield bank
    await bank.close()


@pytest.fixture
def order() -> PayoutOrder:
    """An order as the actors make them."""
    return PayoutOrder("0190a5e2-7c3b-7000-8000-000000000001", 1250, "USD", '{"iban": "DE00"}')


@pytest_asyncio.fixture
async def make_pipeline(
    tmp_path: Path, database_url: str, connection: asyncpg.Connection
) -> AsyncIterator[Callable[..., Pipeline]]:
    """`make_pipeline(rabbitmq_url, WBS_RETRY_ROUNDS="2", …)`: everything but started, with a fast ladder."""
    made: list[Pipeline] = []

    def make(rabbitmq_url: str, **overrides: str) -> Pipeline:
        environment = {
            **COMPRESSED,
            "DATABASE_URL": database_url,
            "RABBITMQ_URL": rabbitmq_url,
            **overrides,
        }
        bank = BankProcess(tmp_path, {})
        environment.setdefault("WBS_BANK_URL", bank.url)
        pipeline = Pipeline(tmp_path, bank, environment, connection)
        made.append(pipeline)
        return pipeline

    yield make
    for pipeline in made:
        await pipeline.close()


@pytest_asyncio.fixture
async def pipeline(make_pipeline: Callable[..., Pipeline], rabbitmq_url: str) -> Pipeline:
    """The background half with the real RabbitMQ, nothing started yet."""
    return make_pipeline(rabbitmq_url)

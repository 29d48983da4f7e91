"""Banks, brokers and processes for the tests of the actors."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from actors.bank.http import HttpBank
from actors.bank.protocol import PayoutOrder
from tests.integration.actors.fault_server import FaultServer


@pytest_asyncio.fixture
async def fault_server() -> AsyncIterator[FaultServer]:
    """A bank that misbehaves to order."""
    server = FaultServer()
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture
async def bank(fault_server: FaultServer) -> AsyncIterator[HttpBank]:
    """Our client to that bank, with short timeouts."""
    bank = HttpBank(fault_server.url, timeout_ms=300, connect_timeout_ms=150, connections_max=4)
    yield bank
    await bank.close()


@pytest.fixture
def order() -> PayoutOrder:
    """An order as the actors make them."""
    return PayoutOrder("0190a5e2-7c3b-7000-8000-000000000001", 1250, "USD", '{"iban": "DE00"}')

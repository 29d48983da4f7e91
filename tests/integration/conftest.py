"""What several kinds of integration tests need."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.integration.link import Link


@pytest_asyncio.fixture
async def link(database_url: str) -> AsyncIterator[Link]:
    """A network between the service and the database, which works until a test breaks it."""
    link = Link(database_url)
    await link.start()
    yield link
    link.thaw()
    await link.stop()

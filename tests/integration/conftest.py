"""What several kinds of integration tests need."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.integration.link import Link


@pytest_asyncio.fixture
async def link(database_url: str) -> AsyncIterator[Link]:
    """A network between the service and the database, working until told otherwise."""
    link = Link(database_url)
    await link.start()
    yield link
    link.thaw()
    await link.stop()

"""Reads any number of rows in bounded memory."""

from collections.abc import AsyncIterator
from typing import Any

PREFETCH = 2_000
"""Number of rows of a stream that are in memory at once."""


async def stream(connection: Any, query: str, *arguments: object) -> AsyncIterator[tuple[int, Any]]:
    """Yield the rows, numbered from 1, fetching a few at a time; needs a transaction."""
    number = 0
    async for row in connection.cursor(query, *arguments, prefetch=PREFETCH):
        number += 1
        yield number, row

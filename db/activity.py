"""Activity: what each process did, by the minute, for the console's charts. It is kept for two hours."""

from collections.abc import Mapping

from db.connections import Reader
from db.sql import load
from runtime.activity import Done

_SQL = load("operator")


async def note_activity(reader: Reader, instance: str, done: Mapping[str, Done]) -> None:
    """Add to what a process did in this minute. Raises Unavailable."""
    if done:
        numbers, seconds = zip(*done.values(), strict=True)
        await reader.fetch(_SQL["note_activity"], instance, list(done), numbers, seconds)


async def forget_activity(reader: Reader) -> None:
    """Remove what is older than two hours. Raises Unavailable."""
    await reader.fetch(_SQL["forget_activity"])

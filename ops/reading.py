"""Shared by the commands that read the database: a reader, and times and amounts for people and for JSON."""

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from db.connections import Reader
from ops.environment import DATABASE, running_environment, told_database
from ops.tables import ago
from runtime.settings import Settings

Result = TypeVar("Result")


class Asked:
    """The database that a command asks, and how amounts are spelled there."""

    def __init__(self) -> None:
        """Find the database and say which it is. Raises NothingRunning, SettingsError."""
        environment = running_environment()
        self.settings = Settings.from_env(environment)
        self.database = told_database(environment[DATABASE])
        self.spelled: Callable[[int, str], str] = self.settings.taken_currencies.spelled

    def run(self, question: Callable[[Reader], Awaitable[Result]]) -> Result:
        """Return the answer. Raises TryLater, and what the question raises."""

        async def ask() -> Result:
            async with reading(self.settings) as reader:
                return await question(reader)

        return asyncio.run(ask())

    def print_json(self, document: dict[str, Any]) -> None:
        """Print the document, with the database that it is from."""
        print(json.dumps({"database": self.database, **document}, default=plain, ensure_ascii=False))


@asynccontextmanager
async def reading(settings: Settings) -> Any:
    """Open a reader for the length of the block."""
    reader = Reader(settings.database, size=2)
    try:
        yield reader
    finally:
        reader.terminate()


def plain(value: Any) -> Any:
    """Return what JSON has instead of an instant or an identifier."""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def when(at: datetime) -> str:
    """Return an instant as people read it: date, time, and how long ago."""
    return f"{at:%Y-%m-%d %H:%M:%S}Z ({ago((datetime.now(UTC) - at).total_seconds())} ago)"


def totals(rows: Iterable[tuple[str, int]], spelled: Callable[[int, str], str]) -> str:
    """Return sums by currency as people read them: `1,234.56 USD, 70 JPY`. `rows` are (currency, minor units)."""
    sums: dict[str, int] = {}
    for currency, amount in rows:
        sums[currency] = sums.get(currency, 0) + amount
    return ", ".join(spelled(amount, currency) for currency, amount in sorted(sums.items()))


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")

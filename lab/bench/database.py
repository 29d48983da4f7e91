"""The benchmark's own view of the database: it fills it and counts in it. No request ever comes here."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from db.api_keys import digest
from db.migrate import migrate
from db.sql import load
from wallet.commands import Charge
from wallet.scopes import GRANTABLE

_SQL = load("queries", Path(__file__).parent)

PGBENCH_SCRIPT: str = _SQL["pgbench_charge"]
"""One charge per commit, for `pgbench -M prepared -f`."""

_PREFILL_ROWS = 500_000
_PREFILL_AMOUNT = 100


class Idle(NamedTuple):
    """Whether the outbox is empty or waits for room in the queue, and whether no withdrawal is open."""

    published_or_full: bool
    paid: bool


class Drain(NamedTuple):
    """The payment of withdrawals: `seconds` from the first to the last, and latencies since their acceptance."""

    completed: int
    seconds: float
    p50_ms: float
    p99_ms: float


class Numbered(NamedTuple):
    """Events that got their numbers, and their lags since their statements."""

    events: int
    per_s: float
    """While there was always more to number."""
    p50_ms: float
    p99_ms: float


async def add_api_key(database_url: str, secret: str) -> None:
    """Let the benchmark in: two stacks get the same key, so that one load generator can speak to both."""
    async with _connect(database_url) as connection:
        await connection.execute(_SQL["add_api_key"], digest(secret), sorted(GRANTABLE))


@asynccontextmanager
async def _connect(database_url: str) -> AsyncIterator[Any]:
    settings = {"application_name": "wbs bench", "timezone": "UTC", "work_mem": "256MB"}
    connection = await asyncpg.connect(database_url, timeout=10, server_settings=settings)
    try:
        yield connection
    finally:
        await connection.close(timeout=10)


async def create_database(database_url: str, name: str) -> str:
    """Make an empty database with our schema on the same server (any of that name goes); return its URL."""
    async with _connect(database_url) as connection:
        await connection.execute(f'drop database if exists "{name}" with (force)', timeout=30)
        await connection.execute(f'create database "{name}"', timeout=30)
    url = urlunsplit(urlsplit(database_url)._replace(path=f"/{name}"))
    await migrate(url)
    return url


async def prefill(database_url: str, transactions: int, hot_user: str, tell: Callable[[int], None]) -> None:
    """Fill up to this number of transactions, spread over all wallets but `hot_user`'s; then vacuum."""
    async with _connect(database_url) as connection:
        wallets = await connection.fetch(_SQL["wallets"], hot_user)
        assert wallets, "wallets come first"
        prints = [
            Charge("default", "", user_id, currency, _PREFILL_AMOUNT).fingerprint()
            for user_id, currency in wallets
        ]
        await connection.execute(_SQL["leave_out_triggers"])
        while (missing := transactions - await connection.fetchval(_SQL["transactions"])) >= len(wallets):
            rounds = max(min(missing, _PREFILL_ROWS) // len(wallets), 1)
            await connection.execute(
                _SQL["prefill"], rounds, *zip(*wallets, strict=True), prints, timeout=300
            )
            tell(transactions - missing + rounds * len(wallets))
        # Do the work that autovacuum and the checkpointer would have done by then, as if time had passed.
        await connection.execute("vacuum analyze", timeout=600)
        await connection.execute("checkpoint", timeout=300)
        await connection.execute(_SQL["complete_from_now"])


def fill(database_url: str, transactions: int, hot_user: str, say: Callable[[str], None]) -> None:
    """Do what `prefill` does, and say how far it is."""
    say(f"Filling up to {transactions:,} transfers by SQL")
    asyncio.run(
        prefill(database_url, transactions, hot_user, lambda done: say(f"  {done:,} of {transactions:,}"))
    )


async def note_events(database_url: str, noted: bool) -> None:
    """Have writers note events, or not. Nothing may be writing."""
    async with _connect(database_url) as connection:
        word = "enable" if noted else "disable"
        await connection.execute(_SQL["note_events"] % (word, word), timeout=60)
        if noted:
            await connection.execute(_SQL["complete_from_now"])


async def all_numbered(database_url: str) -> bool:
    """Return whether no event waits for its number."""
    return bool(await _value(database_url, "all_numbered"))


async def archived(database_url: str) -> int:
    """Return how many movements were archived so far."""
    return int(await _value(database_url, "archived"))


async def courier_leads(database_url: str, since: datetime) -> bool:
    """Return whether a courier has said since then that it leads."""
    return bool(await _value(database_url, "courier_leads", since))


async def last_event(database_url: str) -> int:
    """Return the number of the last event."""
    return int(await _value(database_url, "last_event"))


async def numbered(database_url: str, since: datetime) -> Numbered:
    """Return the numbering of events since then; there must be some."""
    async with _connect(database_url) as connection:
        row = await connection.fetchrow(_SQL["numbered"], since, timeout=60)
    p50_s, p99_s = row["lags_s"]
    return Numbered(row["events"], row["per_s"] or 0.0, p50_s * 1000, p99_s * 1000)


async def transactions(database_url: str) -> int:
    """Return the number of charges and withdrawals so far."""
    return int(await _value(database_url, "transactions"))


async def open_withdrawals(database_url: str) -> int:
    """Count the withdrawals that have not ended."""
    return int(await _value(database_url, "open_withdrawals"))


async def idle(database_url: str) -> Idle:
    """Return whether any work is left."""
    async with _connect(database_url) as connection:
        return Idle(*await connection.fetchrow(_SQL["idle"], timeout=60))


async def clock(database_url: str) -> datetime:
    """Return the database's time."""
    async with _connect(database_url) as connection:
        now: datetime = await connection.fetchval(_SQL["clock"])
        return now


async def drain(database_url: str, since: datetime) -> Drain:
    """Return the payment of the withdrawals accepted since then; there must be some."""
    async with _connect(database_url) as connection:
        row = await connection.fetchrow(_SQL["drain"], since, timeout=60)
    p50_s, p99_s = row["latencies_s"]
    return Drain(row["completed"], row["seconds"], p50_s * 1000, p99_s * 1000)


async def server_facts(database_url: str) -> dict[str, str]:
    """Return the server's version and the settings that figures depend on."""
    async with _connect(database_url) as connection:
        return {row["name"]: row["setting"] for row in await connection.fetch(_SQL["server_facts"])}


async def _value(database_url: str, query: str, *arguments: object) -> Any:
    """Return the one value that a query asks for."""
    async with _connect(database_url) as connection:
        return await connection.fetchval(_SQL[query], *arguments, timeout=60)

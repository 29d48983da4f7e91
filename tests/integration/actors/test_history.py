"""The check of our history after a plain restart of the database: missing or endless books of the bank stop nothing."""

import asyncpg
import pytest
import pytest_asyncio

from actors.bank.protocol import BooksUnreadable
from actors.history import ALL_BOOKS_WAIT_S, BOOKS_WAIT_S, HistoryGuard
from db import stack


class Session:
    """The reconciler's session, as far as the guard needs it."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection


class Comparison:
    """Books that can't be read, or that come to no end."""

    def __init__(self, error: Exception | None) -> None:
        self.unknown = 0
        self.on_unknown = None
        self.error = error

    async def read_new_entries(self) -> bool:
        if self.error is not None:
            raise self.error
        return False


@pytest_asyncio.fixture
async def restarted(connection: asyncpg.Connection) -> asyncpg.Connection:
    """A database whose server was started again since it was written down."""
    await stack.write_down(connection, await stack.server(connection), whole=True)
    await connection.execute("update stack set server_started_at = server_started_at - interval '1 hour'")
    return connection


@pytest.mark.parametrize(
    ("error", "wait_s"),
    [(BooksUnreadable("away"), BOOKS_WAIT_S), (None, ALL_BOOKS_WAIT_S)],
    ids=["unreadable", "endless"],
)
async def test_books_that_tell_nothing(
    restarted: asyncpg.Connection, error: Exception | None, wait_s: float
) -> None:
    """Goal: payouts wait for the bank's books after a restart, but not for ever, even if the books never end."""
    now = 1_000.0
    guard = HistoryGuard(
        Session(restarted),  # type: ignore[arg-type]
        Comparison(error),  # type: ignore[arg-type]
        clock=lambda: now,
    )
    for _ in range(3):
        await guard.look()
        assert guard.standing.startswith("waiting")
        now += wait_s / 3
    await guard.look()
    assert guard.paused
    now += 1
    await guard.look()
    assert guard.standing == "ok"

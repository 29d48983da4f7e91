"""A trigger or rule of somebody else's that swallows writes: what was not written is never answered as written."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from db.adoptions import BankPayout, adopt_payout
from db.errors import DATABASE_ERRORS
from db.ledger import Ledger
from db.reconciliation import WithdrawalRow
from db.releases import release_oldest
from db.withdrawals import Attempt, Withdrawals
from runtime.settings import Settings
from tests.integration.db.conftest import accepted, charge, submit_twice, withdraw
from tests.locks import in_a_month, in_an_hour, mature
from wallet.errors import Unavailable
from wallet.outcomes import BankUnavailable, Declined, Paid, Returned
from wallet.receipts import Recorded

BooksHold = Callable[[], Awaitable[dict[str, int]]]
OpenLedger = Callable[[Settings], Ledger]
Call = Callable[[], Awaitable[Any]]

TABLES = (
    "wallets",
    "transfers",
    "locks",
    "withdrawals",
    "withdrawal_history",
    "idempotency_keys",
    "outbox",
)
SWALLOWS = {
    "insert": "before insert on {} for each row execute function nothing()",
    "update": "before update on {} for each row execute function nothing()",
    "delete": "before delete on {} for each row execute function nothing()",
    "update to what it was": "before update on {} for each row execute function as_it_was()",
}
FUNCTIONS = """
create function nothing() returns trigger language plpgsql as 'begin return null; end';
create function as_it_was() returns trigger language plpgsql as 'begin return old; end'
"""
USERS = ("plain", "locking", "released", "paid", "mixed", "stepwise")


@pytest.fixture(params=TABLES)
def table(request: pytest.FixtureRequest) -> str:
    """One of the tables that money's truth is in."""
    return str(request.param)


@pytest.fixture(params=SWALLOWS)
def swallow(request: pytest.FixtureRequest) -> str:
    """One of the ways to swallow a write."""
    return SWALLOWS[str(request.param)]


class Books:
    """A database in which each kind of write has something to do."""

    def __init__(
        self, connection: asyncpg.Connection, optimistic: Ledger, locking: Ledger, withdrawals: Withdrawals
    ) -> None:
        self._connection = connection
        self._optimistic = optimistic
        self._locking = locking
        self._withdrawals = withdrawals
        self._ids: dict[str, list[UUID]] = {}
        self._attempts: dict[str, Attempt] = {}

    async def prepare(self) -> None:
        """Charge each user, lock some money until it has matured, and accept withdrawals in several states."""
        await self._connection.execute(FUNCTIONS)
        for user in USERS:
            await self._optimistic.submit(charge(1000, user=user))
        for _ in range(3):
            await self._optimistic.submit(charge(10, user="released", release_at=in_an_hour()))
        await self._optimistic.submit(charge(10, user="stepwise", release_at=in_an_hour()))
        await self._optimistic.submit(withdraw(1000, user="stepwise"))
        await mature(self._connection)
        for user in ("paid", "mixed"):
            ids = [await accepted(self._optimistic, withdraw(7, user=user)) for _ in range(6)]
            self._ids[user] = ids
            for id in ids[:4]:
                attempt = await self._withdrawals.begin_attempt(id, user)
                assert attempt is not None
                self._attempts[f"{user}{ids.index(id)}"] = attempt
        await self._withdrawals.settle(self._attempts["mixed3"], Paid("p3"))

    def calls(self) -> dict[str, Call]:
        """Return every kind of write, each to be made once."""
        release_at, keys = in_a_month(), [uuid4().hex for _ in range(8)]
        mixed = self._ids["mixed"]
        known = WithdrawalRow(mixed[3], "mixed", "USD", 7, "completed", 1, "p3")
        lately, begin, settle = self._withdrawals, self._withdrawals.begin_attempt, self._withdrawals.settle
        attempts = self._attempts
        stray = BankPayout(uuid4().hex, "plain", "px", 3, "USD")
        return {
            "a charge": lambda: self._optimistic.submit(charge(1, user="plain", key=keys[0])),
            "a lock": lambda: self._optimistic.submit(
                charge(2, user="plain", key=keys[1], release_at=release_at)
            ),
            "a withdrawal": lambda: self._optimistic.submit(withdraw(3, user="plain", key=keys[2])),
            "a new wallet": lambda: self._optimistic.submit(charge(1, user="new", key=keys[3])),
            "a charge under locks": lambda: self._locking.submit(charge(1, user="locking", key=keys[4])),
            "a lock under locks": lambda: self._locking.submit(
                charge(2, user="locking", key=keys[5], release_at=release_at)
            ),
            "a withdrawal under locks": lambda: self._locking.submit(
                withdraw(3, user="locking", key=keys[6])
            ),
            "a withdrawal of matured money": lambda: self._locking.submit(
                withdraw(5, user="stepwise", key=keys[7])
            ),
            "releases": lambda: release_oldest(self._connection, [("released", "USD")]),
            "an attempt": lambda: begin(self._ids["paid"][4], "paid"),
            "a payment": lambda: settle(attempts["paid0"], Paid("p")),
            "a decline": lambda: settle(attempts["mixed0"], Declined("no")),
            "another round": lambda: settle(attempts["mixed1"], BankUnavailable("away")),
            "cancelled": lambda: lately.cancel(mixed[4]),
            "returned": lambda: lately.learn(known, Returned("p3", 7)),
            "adopted": lambda: adopt_payout(self._connection, stray, "operator:ann", "lost"),
        }


@asynccontextmanager
async def swallowing(connection: asyncpg.Connection, table: str, swallow: str) -> Any:
    """Swallow writes to the table until the end of the block."""
    await connection.execute(f"create trigger aa_swallow {swallow.format(table)}")
    try:
        yield
    finally:
        await connection.execute(f"drop trigger aa_swallow on {table}")


async def test_no_swallowed_write_is_answered_as_written(
    table: str,
    swallow: str,
    connection: asyncpg.Connection,
    settings: Settings,
    open_ledger: OpenLedger,
    withdrawals: Withdrawals,
    books_hold: BooksHold,
) -> None:
    """Goal: each write either takes place or is refused, the books hold all the time, and afterwards all goes on."""
    optimistic, locking = open_ledger(settings), open_ledger(settings)
    await submit_twice(locking, charge(1, user="other"))
    books = Books(connection, optimistic, locking, withdrawals)
    await books.prepare()
    await books_hold()
    calls = books.calls()
    done: dict[str, Any] = {}
    async with swallowing(connection, table, swallow):
        for name, call in calls.items():
            try:
                done[name] = await asyncio.wait_for(call(), 30)
            except (Unavailable, *DATABASE_ERRORS) as refusal:
                done[name] = refusal
        await books_hold()
    for name, call in calls.items():
        if isinstance(done[name], Exception):
            assert not getattr(await call(), "replayed", False), f"{name} was refused, and had happened"
        elif isinstance(done[name], Recorded):
            assert (await call()).replayed, f"{name} was accepted, and had not happened"
    await books_hold()

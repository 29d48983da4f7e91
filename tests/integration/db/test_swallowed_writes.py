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
from tests.integration.db.conftest import accepted, charge, hold, submit_twice, transfer, withdraw
from tests.locks import in_a_month, in_an_hour, mature
from wallet.commands import Leg
from wallet.errors import Unavailable
from wallet.follow_up_commands import CaptureHold, ReverseCharge, ReverseTransfer, VoidHold
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
    "holds",
    "transfer_legs",
    "charge_reversals",
    "reversals",
    "reversal_legs",
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
        self._made: dict[str, UUID] = {}

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
        await self._prepare_follow_ups()

    async def _prepare_follow_ups(self) -> None:
        """Make holds, charges and transfers of which something was captured or reversed, and some is left."""
        made = self._made
        for name in ("captured", "voided"):
            made[name] = await accepted(self._optimistic, hold(9, user="plain"))
        for name, release_at in (("charge", None), ("locked", in_a_month())):
            made[name] = await accepted(self._optimistic, charge(20, user="plain", release_at=release_at))
            await self._optimistic.follow_up(ReverseCharge("shop", uuid4().hex, made[name], 10))
        made["transfer"] = await accepted(self._optimistic, transfer("plain", ("locking", 10), ("paid", 10)))
        await self._optimistic.follow_up(ReverseTransfer("shop", uuid4().hex, made["transfer"], ((1, 5),)))

    def calls(self) -> dict[str, Call]:
        """Return every kind of write, each to be made once."""
        release_at, keys = in_a_month(), [uuid4().hex for _ in range(16)]
        mixed = self._ids["mixed"]
        known = WithdrawalRow(mixed[3], "mixed", "USD", 7, "completed", 1, "p3")
        lately, begin, settle = self._withdrawals, self._withdrawals.begin_attempt, self._withdrawals.settle
        attempts, made = self._attempts, self._made
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
            "a transfer": lambda: self._optimistic.submit(transfer("plain", ("locking", 4), key=keys[8])),
            "a hold": lambda: self._optimistic.submit(
                hold(4, user="plain", key=keys[9], expires_at=release_at)
            ),
            "a transfer under locks": lambda: self._locking.submit(
                transfer("locking", ("plain", 4), key=keys[10], release_at=release_at)
            ),
            "a hold under locks": lambda: self._locking.submit(hold(4, user="locking", key=keys[11])),
            "a capture": lambda: self._optimistic.follow_up(
                CaptureHold("shop", keys[12], made["captured"], (Leg("paid", 5),))
            ),
            "a void": lambda: self._optimistic.follow_up(VoidHold(made["voided"])),
            "a reversal": lambda: self._optimistic.follow_up(
                ReverseCharge("shop", keys[13], made["charge"], 3)
            ),
            "a reversal of what is locked": lambda: self._optimistic.follow_up(
                ReverseCharge("shop", keys[14], made["locked"], 3)
            ),
            "a reversal of a transfer": lambda: self._optimistic.follow_up(
                ReverseTransfer("shop", keys[15], made["transfer"], ((1, 2), (2, 3)))
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
        elif isinstance(done[name], Recorded) and name != "a void":  # it is as it was, whoever did it
            assert (await call()).replayed, f"{name} was accepted, and had not happened"
    await books_hold()

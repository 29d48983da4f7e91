"""Shared by the tests of db/: money to move, books to check, a network to break, a server to stop."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from db import reads
from db.audit import Findings, audit_books
from db.connections import Reader
from db.ledger import Ledger
from db.withdrawals import Withdrawals
from ops.local.provision import PrivateServers, private_servers
from runtime.settings import Settings
from tests.conftest import PATIENT
from tests.integration.link import Link
from wallet.commands import Charge, LedgerCommand, Leg, MakeTransfer, PlaceHold, Withdraw
from wallet.receipts import Recorded

Split = tuple[int, int, int]
"""withdrawable, locked, held"""


def charge(amount: int, *, user: str = "ann", key: str | None = None, **more: object) -> Charge:
    """Return a charge, under a key of its own unless one is given."""
    return Charge("shop", key or uuid4().hex, user, "USD", amount, **more)  # type: ignore[arg-type]


def withdraw(amount: int, *, user: str = "ann", key: str | None = None, **more: object) -> Withdraw:
    """Return a withdrawal, under a key of its own unless one is given."""
    return Withdraw("shop", key or uuid4().hex, user, "USD", amount, **more)  # type: ignore[arg-type]


def transfer(payer: str, *legs: tuple[str, int], key: str | None = None, **more: object) -> MakeTransfer:
    """Return a transfer to these payees, under a key of its own unless one is given."""
    release_at = more.pop("release_at", None)
    made = tuple(Leg(user, amount, release_at) for user, amount in legs)  # type: ignore[arg-type]
    total = sum(amount for _, amount in legs)
    return MakeTransfer("shop", key or uuid4().hex, payer, "USD", total, made, **more)  # type: ignore[arg-type]


def hold(amount: int, *, user: str = "ann", key: str | None = None, **more: object) -> PlaceHold:
    """Return a hold, under a key of its own unless one is given."""
    return PlaceHold("shop", key or uuid4().hex, user, "USD", amount, **more)  # type: ignore[arg-type]


async def accepted(ledger: Ledger, command: LedgerCommand) -> UUID:
    """Submit a command and return the identifier of the movement."""
    return (await ledger.submit(command)).receipt.id


async def submit_twice(ledger: Ledger, command: LedgerCommand) -> None:
    """Submit a command and replay it, which makes the ledger write its next batches under locks."""
    await ledger.submit(command)
    assert (await ledger.submit(command)).replayed


async def split(reader: Reader, user: str = "ann") -> Split:
    """Return a wallet's withdrawable, locked and held money."""
    balance = (await reads.balances(reader, [(user, "USD")]))[user, "USD"]
    assert balance.total == balance.withdrawable + balance.locked + balance.held
    return balance.withdrawable, balance.locked, balance.held


async def waiting_for_locks(connection: asyncpg.Connection) -> int:
    """Count those in this database who wait for a lock now."""
    # Within a transaction the same activity is seen always, unless it is forgotten.
    await connection.execute("select pg_stat_clear_snapshot()")
    count: int = await connection.fetchval(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    )
    return count


def answers(results: Iterable[Recorded | BaseException]) -> dict[str, int]:
    """Count what came of many submissions: `new`, `replayed`, or the name of the error."""
    counts: dict[str, int] = {}
    for result in results:
        if isinstance(result, BaseException):
            name = type(result).__name__
        else:
            name = "replayed" if result.replayed else "new"
        counts[name] = counts.get(name, 0) + 1
    return counts


@pytest.fixture
def books_hold(connection: asyncpg.Connection) -> Callable[[], Awaitable[dict[str, int]]]:
    """`await books_hold()`: every invariant holds; returns how many rows were looked at."""

    async def check() -> dict[str, int]:
        findings = Findings()
        await audit_books(connection, findings, lambda _: None)
        assert not findings.violations
        return findings.checked

    return check


@pytest.fixture
def linked_settings(link: Link) -> Callable[..., Settings]:
    """Settings that reach the database through the link."""

    def make(**environment: str) -> Settings:
        return Settings.from_env({**PATIENT, "DATABASE_URL": link.url, **environment})

    return make


@pytest_asyncio.fixture
async def open_ledger() -> AsyncIterator[Callable[[Settings], Ledger]]:
    """`open_ledger(settings)`: further ledgers with connections of their own, as in other processes."""
    opened: list[Ledger] = []

    def open_(settings: Settings) -> Ledger:
        ledger = Ledger(settings)
        ledger.start()
        opened.append(ledger)
        return ledger

    yield open_
    for ledger in opened:
        await ledger.stop()


@pytest_asyncio.fixture
async def open_withdrawals() -> AsyncIterator[Callable[[Settings], Withdrawals]]:
    """`open_withdrawals(settings)`: further actors' views, each with its own connections."""
    opened: list[Withdrawals] = []

    def open_(settings: Settings) -> Withdrawals:
        withdrawals = Withdrawals(settings)
        withdrawals.start()
        opened.append(withdrawals)
        return withdrawals

    yield open_
    for withdrawals in opened:
        await withdrawals.stop()


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServers]:
    """A PostgreSQL of this module alone, which may be stopped and frozen."""
    folder = tmp_path_factory.mktemp("own-postgres")
    with private_servers(folder, rabbitmq=False, env={"DATABASE_URL": ""}, delete=True) as servers:
        yield servers

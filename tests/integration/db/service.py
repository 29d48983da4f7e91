"""What a gateway and an actor do with the database, each way to it as a call, and whether it goes through."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeVar

import pytest

from db import reads
from db.connections import Reader
from db.group_read import GroupRead
from db.ledger import Ledger
from db.reads import Balance
from db.withdrawals import Withdrawals
from runtime.settings import Settings
from runtime.tasks import SupervisedTasks
from tests.integration.db.conftest import accepted, charge, split, withdraw
from tests.polling import poll_until
from wallet.errors import NotCancellable, Unavailable
from wallet.ledger import WalletId

T = TypeVar("T")


class Service:
    """What a gateway and an actor do with the database."""

    def __init__(self, ledger: Ledger, withdrawals: Withdrawals, settings: Settings) -> None:
        self.ledger = ledger
        self.withdrawals = withdrawals
        self.reader = Reader(settings.database, settings.db_pool_size)
        self.grouped_reader = Reader(settings.database, 1)
        self.grouped: GroupRead[WalletId, Balance] = GroupRead(
            "test", partial(reads.balances, self.grouped_reader), SupervisedTasks()
        )

    async def write(self) -> None:
        """Charge something."""
        await self.ledger.submit(charge(1))

    async def read(self) -> None:
        """Read a balance."""
        await split(self.reader)

    async def read_grouped(self) -> None:
        """Read a balance together with others, on a connection that is used for nothing else."""
        await self.grouped.get(("ann", "USD"))

    async def move(self) -> None:
        """Begin an attempt."""
        await self.withdrawals.begin_attempt(self.withdrawal_id, "ann")

    async def cancel(self) -> None:
        """Try to cancel a processing withdrawal: a transaction of several statements, whatever its state."""
        with suppress(NotCancellable):
            await self.withdrawals.cancel(self.withdrawal_id)

    async def prepare(self) -> None:
        """Connect everything, and make a withdrawal."""
        await self.ledger.submit(charge(1000))
        self.withdrawal_id = await accepted(self.ledger, withdraw(1))
        await self.read()
        await self.read_grouped()
        await self.move()
        await self.cancel()

    @property
    def calls(self) -> list[Callable[[], Awaitable[None]]]:
        """Each way to the database."""
        return [self.write, self.read, self.read_grouped, self.move]


@asynccontextmanager
async def service(settings: Settings) -> AsyncIterator[Service]:
    """Start the parts, and stop them in the end, within a bound."""
    ledger, withdrawals = Ledger(settings), Withdrawals(settings)
    ledger.start()
    withdrawals.start()
    made = Service(ledger, withdrawals, settings)
    made.grouped.start()
    await poll_until(lambda: works(made.prepare))
    try:
        yield made
    finally:
        async with asyncio.timeout(60):
            await ledger.stop()
            await withdrawals.stop()
            await made.grouped.stop()
        made.reader.terminate()
        made.grouped_reader.terminate()


async def refused(call: Callable[[], Awaitable[None]]) -> float:
    """Make a call that must be refused as unavailable; return how long that took, in seconds."""
    started = time.monotonic()
    with pytest.raises(Unavailable):
        async with asyncio.timeout(30):
            await call()
    return time.monotonic() - started


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Make a call again, as a client does that was told to, until it is not refused as unavailable; return its result.

    Only for calls that may be made again: their second time has to move nothing.
    """

    async def result() -> list[T]:
        try:
            return [await call()]
        except Unavailable:
            return []

    [value] = await poll_until(result, what="no longer unavailable")
    return value


async def works(call: Callable[[], Awaitable[None]]) -> bool:
    """Tell whether a call goes through."""
    try:
        await call()
    except Unavailable:
        return False
    return True

"""What a loop that lives as long as its process needs to be tested: the direct way, and what it is to work."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from db.ledger import Ledger
from db.withdrawals import Attempt, Withdrawals
from runtime.settings import Settings
from runtime.tasks import SupervisedTasks
from tests.integration.db.conftest import accepted, charge, withdraw
from tests.locks import in_an_hour, mature
from tests.polling import poll_until
from wallet.errors import TryLater

NOTICED_WITHIN_S = 0.5
_numbers = itertools.count(1)


class NotYet(TryLater):
    """The loop has not done it yet; with a database that says odd things it may not do it for a while."""


@dataclass(slots=True)
class Direct:
    """The same database by a way that always works."""

    ledger: Ledger
    withdrawals: Withdrawals
    connection: asyncpg.Connection
    settings: Settings

    async def withdrawal(self, user: str | None = None) -> tuple[UUID, str]:
        """Return a new pending withdrawal of 2, and its user."""
        user = user or new_user()
        await self.ledger.submit(charge(2, user=user))
        return await accepted(self.ledger, withdraw(2, user=user)), user

    async def attempt(self) -> Attempt:
        """Return an attempt that has just begun."""
        attempt = await self.withdrawals.begin_attempt(*await self.withdrawal())
        assert attempt is not None
        return attempt

    async def matured(self, user: str, amount: int) -> None:
        """Charge an amount that is locked, and let it mature, with all other locks."""
        await self.ledger.submit(charge(amount, user=user, release_at=in_an_hour()))
        await mature(self.connection)


def new_user() -> str:
    """An unknown user."""
    return f"u{next(_numbers)}"


async def noticed(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Return once it is true. Raises NotYet after a while."""
    try:
        await poll_until(condition, NOTICED_WITHIN_S)
    except AssertionError as error:
        raise NotYet from error


class Loop(ABC):
    """One loop, or several that belong together."""

    def __init__(self, settings: Settings, direct: Direct) -> None:
        self.settings = settings
        self.direct = direct
        self.tasks = SupervisedTasks(pause_s_min=0.01, pause_s_max=0.1)

    @abstractmethod
    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run for the length of the block."""
        yield

    @abstractmethod
    async def work(self) -> None:
        """Do each thing the loop is for, and see that it was done. Raises what its callers get, or NotYet."""

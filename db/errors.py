"""What PostgreSQL says → what the domain says. The one place that knows constraint names."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from wallet.errors import BalanceLimitExceeded, IllegalMove, InsufficientFunds, Unavailable, WalletError

CONNECTION_ERRORS = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    ConnectionError,
    OSError,
    asyncio.TimeoutError,
)
"""The connection is of no use any more; whether its last commit took place is not known."""

DATABASE_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""Whatever can go wrong with a database, for commands that can only say so."""

LOCK_ERRORS = (asyncpg.LockNotAvailableError,)
"""Somebody else kept a lock for longer than we wait for one."""

RETRYABLE_ERRORS = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.UniqueViolationError,
)
"""Somebody else was faster: the same batch may go through when tried again."""

SHORTAGE_ERRORS = (
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresIOError,
)
"""Disk full, out of memory, a standby: nothing was written, and the request is not at fault."""


class DecideAgain(Exception):
    """What the decision rests on has changed since it was read: roll back and decide the batch anew.

    `remedy`, if given, is run on the connection in between and commits by itself.
    """

    def __init__(self, reason: str, remedy: Callable[[Any], Awaitable[None]] | None = None) -> None:
        super().__init__(reason)
        self.remedy = remedy


class CareNeeded(DecideAgain):
    """A batch was written in the hope that its keys are new and all of it is accepted; it is not so."""


def translate(error: BaseException) -> WalletError | None:
    """Return the domain error for a database error of a single request, or None if it is our own bug."""
    if isinstance(error, WalletError):
        return error
    if isinstance(
        error, (*CONNECTION_ERRORS, *RETRYABLE_ERRORS, *SHORTAGE_ERRORS, *LOCK_ERRORS, DecideAgain)
    ):
        return Unavailable("the database can't take this now; send the same request again")
    if isinstance(error, asyncpg.CheckViolationError):
        constraint = error.constraint_name or ""
        if constraint == "wallets_total_limit":
            return BalanceLimitExceeded("the wallet's total would be too great")
        if constraint == "withdrawals_legal_move":
            return IllegalMove("the withdrawal has moved on")
        if constraint in ("wallets_available_check", "wallets_locked_check", "wallets_held_check"):
            return InsufficientFunds(0, 0)
    return None

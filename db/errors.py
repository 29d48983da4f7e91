"""Translates PostgreSQL's errors to the domain's. The only place that knows SQLSTATEs and constraint names.

For any error it answers two questions: what to do about it (`fault_of`), and what to tell the caller (`translate`).
If the server can't do something now, for whatever reason, that is `Unavailable`, with a machine-readable reason. For
SQLSTATEs see PostgreSQL's manual, appendix A.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

import asyncpg

from wallet.commands import Withdraw
from wallet.errors import (
    BalanceLimitExceeded,
    IllegalMove,
    InsufficientFunds,
    TryLater,
    Unavailable,
    ValidationFailed,
    WalletError,
)
from wallet.ledger import WalletId
from wallet.money import AMOUNT_MAX

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
    TimeoutError,
)
"""The connection is unusable; whether its last commit took place is unknown."""


class MalformedAnswer(Exception):
    """The server's answer is impossible: a row too few, an unexpected NULL, type or command tag (`db.strict`)."""


DATABASE_ERRORS = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    MalformedAnswer,
)
"""All errors of a database, for commands that can only report them."""


class Fault(Enum):
    """The class of an error, which decides what to do about it."""

    CONNECTION = "the connection is of no use; whether its last commit took place is not known: connect anew"
    CONTENTION = (
        "somebody else was faster, or cancelled it: nothing was written, the same may go through again"
    )
    LOCKED = "somebody keeps a lock for longer than we wait for one: go on without those who need it"
    SHORTAGE = "the server can't write now, whatever is asked: nothing was written, ask again later"
    SERVER = "the server is at fault, perhaps for certain rows only: connect anew, then find out for which"
    REQUEST = "the content of a request may be at fault: find out of which"
    BUG = "our own code is at fault"


AWAY = "database_away"
SLOW = "database_slow"
READ_ONLY = "database_read_only"
CONNECTIONS_USED_UP = "database_connections_used_up"
LOCKED = "database_locked"
CONTENDED = "database_contended"
DISK_FULL = "database_disk_full"
OUT_OF_RESOURCES = "database_out_of_resources"
BROKEN = "database_broken"
MISCONFIGURED = "database_misconfigured"
UNSAFE = "database_unsafe"
STANDBY = "database_standby"
POOLER = "database_pooler"

_SQLSTATES = {
    "08": (Fault.CONNECTION, AWAY),
    "0A": (Fault.SERVER, MISCONFIGURED),  # a cached plan that must not change its result, after a migration
    "22": (Fault.REQUEST, MISCONFIGURED),
    "23": (Fault.REQUEST, MISCONFIGURED),
    "23505": (Fault.CONTENTION, CONTENDED),
    "25006": (Fault.SHORTAGE, READ_ONLY),
    "25P03": (Fault.CONNECTION, AWAY),
    "28": (Fault.CONNECTION, MISCONFIGURED),
    "3D": (Fault.CONNECTION, MISCONFIGURED),
    "3F": (Fault.SERVER, MISCONFIGURED),
    "40": (Fault.CONTENTION, CONTENDED),
    "40003": (Fault.CONNECTION, AWAY),  # it is unknown whether the statement took effect
    "42": (Fault.SERVER, MISCONFIGURED),
    "53": (Fault.SHORTAGE, OUT_OF_RESOURCES),
    "53100": (Fault.SHORTAGE, DISK_FULL),
    "53300": (Fault.CONNECTION, CONNECTIONS_USED_UP),
    "54": (Fault.REQUEST, MISCONFIGURED),
    "55000": (Fault.SERVER, MISCONFIGURED),  # a database that allows no connections
    "55006": (Fault.CONTENTION, LOCKED),
    "55P03": (Fault.LOCKED, LOCKED),
    "57": (Fault.CONTENTION, SLOW),  # cancelled by another session or by its time limit
    "57P": (Fault.CONNECTION, AWAY),
    "57P04": (Fault.CONNECTION, MISCONFIGURED),
    "P0": (Fault.SERVER, MISCONFIGURED),
}
"""By SQLSTATE, or its first three or two characters. An SQLSTATE that is not here is the server's own fault."""

_UNSTORABLE = ("22021", "22P05")
"""SQLSTATEs for a character that the database can't store: always the request's fault."""

_CONSTRAINTS: dict[str, Callable[[], WalletError]] = {
    "wallets_total_limit": lambda: BalanceLimitExceeded("the wallet's", AMOUNT_MAX),
    "withdrawals_legal_move": lambda: IllegalMove("the withdrawal has moved on"),
    "wallets_available_check": lambda: InsufficientFunds(0, 0),
    "wallets_locked_check": lambda: InsufficientFunds(0, 0),
    "wallets_held_check": lambda: InsufficientFunds(0, 0),
}

NONSENSE = (LookupError, TypeError, ValueError, AttributeError, AssertionError, BufferError)
"""Errors from reading a malformed row: missing, too short, NULL, or of another type."""

ARGUMENT_ERRORS = (asyncpg.InterfaceError, UnicodeEncodeError)
"""Errors from asyncpg about an argument that it can't encode, although they may be ValueErrors: the request's fault."""

_SENTENCES = {
    AWAY: "the database can't be reached",
    SLOW: "the database did not answer in time",
    READ_ONLY: "the database takes no writes now",
    CONNECTIONS_USED_UP: "the database has no connection left",
    LOCKED: "somebody else keeps a lock",
    CONTENDED: "others were faster",
    DISK_FULL: "the database has no room left",
    OUT_OF_RESOURCES: "the database has too few resources",
    BROKEN: "the database has a fault",
    MISCONFIGURED: "the database is not as it should be",
    UNSAFE: "the settings of the database are not safe for money",
    STANDBY: "the database is a standby",
    POOLER: "a pooler before the database loses its sessions",
}
REASONS = tuple(_SENTENCES)
"""Tokens for the reasons why writes can fail."""


class UnfitServer(ConnectionError):
    """The server answers but must not be used (`db.sessions`). `reason` is one of the tokens above; the message says
    what to change."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Rejected(NamedTuple):
    """Takes the place of outcomes: nothing of the batch was written, and it must be written again."""

    reason: str
    missing_wallets: frozenset[WalletId] = frozenset()
    """Wallets that must be created first."""
    adopted: Mapping[str, Withdraw] = MappingProxyType({})
    """Requests, by the ends of their references, for withdrawals that were adopted from the bank's books.

    Their keys must be claimed first.
    """


class BatchRejected(Exception):
    """A batch was tried again and again, and rejected each time."""


def fault_of(error: BaseException) -> Fault:
    """Return the class of an error from the database, which decides what to do about it."""
    return _judge(error)[0]


def reason_of(error: BaseException) -> str:
    """Return why the database can't do it now, as one of the tokens above."""
    return error.reason if isinstance(error, TryLater) else _judge(error)[1]


def translate(error: BaseException, *, others_went_through: bool = False) -> WalletError | None:
    """Return the error for the caller of a failed database call; None if it is a bug of our own.

    A request that fails while others of its batch succeeded is itself at fault, if the error allows that
    (`ValidationFailed`). If no other succeeded, the server may be refusing all requests, so the request may be sent
    again (`Unavailable`).
    """
    if isinstance(error, WalletError):
        return error
    fault, reason = _judge(error)
    if fault is Fault.BUG or (others_went_through and isinstance(error, NONSENSE)):
        return None  # the others read sensible rows, so this failure is our own bug
    if isinstance(error, asyncpg.IntegrityConstraintViolationError) and error.constraint_name in _CONSTRAINTS:
        return _CONSTRAINTS[error.constraint_name]()
    certain = not isinstance(error, asyncpg.PostgresError) or error.sqlstate in _UNSTORABLE
    if fault is Fault.REQUEST and (certain or others_went_through):
        return ValidationFailed([("body", "holds a value that can't be stored")])
    return Unavailable(f"{_SENTENCES[reason]}; send the same request again", reason=reason)


def is_odd(error: BaseException) -> bool:
    """Return whether the traceback says more than the message: the error is neither the database's nor the domain's."""
    return not isinstance(error, (*DATABASE_ERRORS, WalletError))


def _judge(error: BaseException) -> tuple[Fault, str]:
    if isinstance(error, asyncpg.PostgresError):
        code = error.sqlstate or ""
        fault, reason = (
            _SQLSTATES.get(code)
            or _SQLSTATES.get(code[:3])
            or _SQLSTATES.get(code[:2])
            or (Fault.SERVER, BROKEN)
        )
        # The server closes the connection after these severities, whatever the SQLSTATE.
        is_fatal = (error.severity_en or error.severity) in ("FATAL", "PANIC")
        return (Fault.CONNECTION if is_fatal else fault), reason
    if isinstance(error, BatchRejected):
        return Fault.CONTENTION, CONTENDED
    if isinstance(error, asyncpg.ClientConfigurationError):
        return Fault.CONNECTION, MISCONFIGURED
    if isinstance(error, UnicodeEncodeError) or (
        # asyncpg's error for an argument that it can't encode (PostgreSQL's DataError hides its name)
        isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)
    ):
        return Fault.REQUEST, MISCONFIGURED
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return Fault.CONNECTION, READ_ONLY
    if isinstance(error, UnfitServer):
        return Fault.CONNECTION, error.reason
    if isinstance(error, TimeoutError):
        return Fault.CONNECTION, SLOW
    if isinstance(error, CONNECTION_ERRORS):
        return Fault.CONNECTION, AWAY
    if isinstance(error, (MalformedAnswer, *NONSENSE)):
        return Fault.SERVER, BROKEN
    return Fault.BUG, BROKEN

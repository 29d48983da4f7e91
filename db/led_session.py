"""A session of a process of which several may run and one leads: a connection of its own, and a lease."""

from contextlib import suppress
from typing import Any

from db.connections import connect
from db.errors import DATABASE_ERRORS
from db.leases import Lease
from runtime.slices import DatabaseSettings

_COMMAND_TIMEOUT_S = 5


class LedSession:
    """One connection, reopened after it breaks. Methods raise `db.errors.CONNECTION_ERRORS`."""

    def __init__(self, database: DatabaseSettings, lease: Lease) -> None:
        self._database = database
        self._lease = lease
        self._connection: Any = None

    async def lead(self) -> bool:
        """Connect if needed and return whether this process leads now. Call it before each step."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._database, command_timeout_s=_COMMAND_TIMEOUT_S)
            self._connected()
        return await self._lease.hold(self._connection)

    def _connected(self) -> None:
        """Forget what was true of the connection before."""

    @property
    def is_unled(self) -> bool:
        """True if no process has led for longer than it takes to succeed a leader that is gone."""
        return self._lease.is_unled

    async def give_up(self) -> None:
        """Let another process lead at once, because this one ends."""
        with suppress(*DATABASE_ERRORS):
            if self._connection is not None and not self._connection.is_closed():
                await self._lease.give_up(self._connection)

    async def close(self) -> None:
        """Close the connection. The lead stays until the lease lapses."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

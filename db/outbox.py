"""The outbox: messages committed together with the money, for a relay to publish.

A relay claims rows, publishes them, deletes those that RabbitMQ confirmed, and only then commits: unconfirmed messages
remain for the next relay. `OutboxNotifier` wakes relays by NOTIFY; if a notification is lost, their polling finds the
messages.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID

from db import webhook_turns
from db.connections import connect, transaction
from db.errors import translate
from db.sql import load
from db.strict import require_tag, whole
from runtime.slices import DatabaseSettings
from runtime.tasks import SupervisedTask, SupervisedTasks
from runtime.telemetry import log
from runtime.throttle import Throttle

_SQL = load("outbox")
_CHANNEL = "outbox"
_NOTIFY_INTERVAL_S = 0.05
_COMMAND_TIMEOUT_S = 5


class Message(NamedTuple):
    """A withdrawal to be announced to the actors."""

    user_id: str
    withdrawal_id: UUID


class OutboxNotifier:
    """Notifies the relays (NOTIFY) after commits, one notification for several commits, on a connection of its own.

    With NOTIFY in the money's transaction, all notifying commits would wait for each other: PostgreSQL holds a lock
    over the whole database from before such a commit until its end.
    """

    def __init__(self, database: DatabaseSettings, tasks: SupervisedTasks) -> None:
        self._database = database
        self._wanted = asyncio.Event()
        self._tasks = tasks
        self._task: SupervisedTask | None = None
        self._throttle = Throttle()
        self._connection: Any = None

    def start(self) -> None:
        """Start the task that sends the notifications."""
        self._task = self._tasks.start("outbox-notifier", self._run)

    async def stop(self) -> None:
        """Stop. The relays' polling finds messages that were not announced."""
        if self._task is not None:
            await self._task.stop()
        self._disconnect()

    def notify(self) -> None:
        """Notify the relays of new messages in the outbox. Returns at once."""
        self._wanted.set()

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await connect(self._database)
                await self._connection.execute(f"notify {_CHANNEL}", timeout=1)
            except Exception as error:
                self._disconnect()
                if translate(error) is None:
                    raise
                if self._throttle.lets_through():
                    log.debug("relays_not_notified", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(_NOTIFY_INTERVAL_S)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


class Outbox:
    """A relay's view of the outbox, on a connection of its own, which is reopened after it breaks."""

    def __init__(self, database: DatabaseSettings) -> None:
        self._database = database
        self._connection: Any = None

    async def open(self, on_notify: Callable[[], None]) -> None:
        """Connect if not connected and call `on_notify` at each notification. Raises `db.errors.CONNECTION_ERRORS`."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._database, command_timeout_s=_COMMAND_TIMEOUT_S)
            await self._connection.execute("set idle_in_transaction_session_timeout = '30s'")
            await self._connection.add_listener(_CHANNEL, lambda *_: on_notify())

    async def close(self) -> None:
        """Close the connection; uncommitted claims are free again."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    @asynccontextmanager
    async def claim(self, limit: int, without: Collection[UUID] = ()) -> AsyncIterator[list[Message]]:
        """Claim up to `limit` messages for the duration of the block, which may call `published`.

        Messages of the withdrawals in `without` are passed over.
        """
        async with transaction(self._connection):
            rows = await self._connection.fetch(_SQL["claim"], limit, list(without))
            yield [Message(row["user_id"], row["withdrawal_id"]) for row in map(whole, rows)]

    @asynccontextmanager
    async def claim_webhooks(self, limit: int) -> AsyncIterator[list[UUID]]:
        """Claim up to `limit` webhook endpoints, likewise, for a block that may call `webhooks_told`."""
        async with transaction(self._connection):
            yield await webhook_turns.claim(self._connection, limit)

    async def webhooks_waiting(self) -> bool:
        """Return whether there are webhook endpoints to be told of."""
        return await webhook_turns.are_waiting(self._connection)

    async def webhooks_told(self, endpoints: Sequence[UUID]) -> None:
        """Delete endpoints of which RabbitMQ has confirmed the message, likewise."""
        await webhook_turns.told(self._connection, endpoints)

    async def published(self, messages: Sequence[Message]) -> None:
        """Delete messages that RabbitMQ has confirmed. Takes effect when the block of `claim` ends."""
        ids = [message.withdrawal_id for message in messages]
        users = [message.user_id for message in messages]
        require_tag(await self._connection.execute(_SQL["published"], ids, users), f"DELETE {len(ids)}")

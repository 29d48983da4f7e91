"""How often a relay claims messages."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from actors import relay as relay_module
from actors.publisher import Publisher
from actors.relay import BATCH_MAX, BUSY_MIN, Relay
from db.outbox import Message, Outbox
from tests.polling import poll_until


class FakeOutbox:
    """Always has the given number of messages, and says so at once."""

    def __init__(self, messages: int) -> None:
        self._messages = messages

    async def open(self, on_notify: Any) -> None:
        self._on_notify = on_notify

    async def close(self) -> None: ...

    @asynccontextmanager
    async def claim(self, limit: int, without: Collection[UUID]) -> AsyncIterator[list[Message]]:
        yield [Message("lena", uuid4()) for _ in range(min(self._messages, limit))]
        self._on_notify()

    async def published(self, messages: list[Message]) -> None: ...

    async def webhooks_waiting(self) -> bool:
        return False


class FakePublisher:
    """Confirms everything."""

    is_open = True
    other_queues = ()

    def __init__(self) -> None:
        self.began_at: list[float] = []
        """When a relay began with a batch: it asks first whether RabbitMQ takes messages, then looks at the clock."""

    @property
    def is_blocked(self) -> bool:
        self.began_at.append(asyncio.get_running_loop().time())
        return False

    async def message_count(self, queue: str) -> int:
        return 0

    async def publish(self, queue: str, bodies: list[bytes], timeout_s: float) -> list[bool]:
        await asyncio.sleep(0)  # others have their turn, as with a network
        return [True] * len(bodies)

    async def close(self) -> None: ...


async def batches(messages: int, number: int) -> list[float]:
    """Return when a relay began with each of this number of batches."""

    async def connect() -> Publisher:
        return cast(Publisher, publisher)

    publisher, outbox, stop = FakePublisher(), FakeOutbox(messages), asyncio.Event()
    relay = Relay(cast(Outbox, outbox), connect)
    task = asyncio.create_task(relay.run(stop))
    await poll_until(lambda: len(publisher.began_at) >= number, what=f"{number} batches")
    stop.set()
    relay.wake()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return publisher.began_at[:number]


async def test_few_messages_are_carried_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: under load, a relay does not claim two messages at a time, as often as it is notified."""
    monkeypatch.setattr(relay_module, "PACE_S", 0.2)
    monkeypatch.setattr(relay_module, "BUSY_PACE_S", 3_600.0)
    first, second, third = await batches(messages=BUSY_MIN - 1, number=3)
    assert second - first >= 0.19
    assert third - second >= 0.19


async def test_many_messages_are_carried_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a relay that had more to carry waits longer for the next ones, which cost less then."""
    monkeypatch.setattr(relay_module, "PACE_S", 0.0)
    monkeypatch.setattr(relay_module, "BUSY_PACE_S", 0.2)
    first, second, third = await batches(messages=BUSY_MIN, number=3)
    assert second - first >= 0.19
    assert third - second >= 0.19


async def test_a_full_batch_is_followed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a relay that has more to carry than fits into a batch does not wait."""
    monkeypatch.setattr(relay_module, "PACE_S", 3_600.0)
    monkeypatch.setattr(relay_module, "BUSY_PACE_S", 3_600.0)
    assert len(await batches(messages=BATCH_MAX, number=5)) == 5

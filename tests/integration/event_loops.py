"""The loops of events: the courier, and what the gateway reads of them. See loops.py."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from actors.courier import Courier
from db import events
from db.courier import CourierSession
from gateway.event_feed import EventFilter
from gateway.reads import Reads
from tests.integration.db.conftest import charge
from tests.integration.loop import Loop, new_user, noticed
from wallet.events import KINDS


class Couriers(Loop):
    """Gives events their numbers, in another epoch each time."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.session = CourierSession(self.settings.database, frozenset(KINDS))
        courier = Courier(self.session, None)
        stop = asyncio.Event()
        running = self.tasks.start("courier", lambda: courier.run(stop), ends_when=stop.is_set)
        yield
        stop.set()
        assert await running.ended(30)

    async def work(self) -> None:
        connection, user = self.direct.connection, new_user()
        epoch = await connection.fetchval("update event_sequence set table_oid = 1 returning epoch")
        self.session._guarded_at = None
        self.session._looked_at = 0.0
        await self.direct.ledger.submit(charge(1, user=user))

        async def numbered() -> bool:
            told = await connection.fetchval("select count(*) from events where $1 = any(user_ids)", user)
            begun = await connection.fetchval("select epoch from event_sequence where table_oid <> 1")
            return bool(told == 1 and begun not in (None, epoch))

        await noticed(numbered)


class EventReads(Loop):
    """Reads the sequence of events."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.reads = Reads(self.settings, self.tasks)
        self.reads.start()
        yield
        await self.reads.stop()

    async def work(self) -> None:
        await self.direct.ledger.submit(charge(1, user=new_user()))
        numbered = await events.number_batches(self.direct.connection, None)
        span = await self.reads.event_span()
        assert span.last_seq == numbered.last_seq
        page = await self.reads.event_page(numbered.last_seq - 1, 10, EventFilter())
        assert [event.seq for event in page.events] == [numbered.last_seq]

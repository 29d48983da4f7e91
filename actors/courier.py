"""The courier, `python -m actors.courier`: gives each event its number, in one sequence without gaps.

Several may run: one leads, the others stand by. What it does is a statement in the database, which a crash leaves done
or not done; two couriers at once do no harm either (`db.events`).
"""

import asyncio
from datetime import timedelta
from typing import Any

from actors import process
from actors.metrics import serve_metrics
from actors.troubles import Troubles
from db.connections import Reader
from db.courier import CourierSession
from db.errors import is_odd
from db.events import BATCHES_MAX
from db.heartbeats import beat_for_ever
from runtime.settings import Settings
from runtime.tasks import SupervisedTasks
from runtime.telemetry import (
    EVENT_BATCHES_WAITING,
    EVENT_NUMBERING_SECONDS,
    EVENTS_LAST_SEQ,
    log,
)
from runtime.throttle import Throttle

IDLE_S = 0.05
"""Pause after a step that left nothing to do."""
STANDING_BY_S = 0.5
FAILED_S = 0.5
RING_S = 0.1
"""Seconds between two looks at which webhooks have something to do."""
FORGET_S = 60.0
"""Seconds between two removals of old events."""


class Courier:
    """Numbers what is committed, until told to stop. A step that fails is taken again."""

    def __init__(self, session: CourierSession, keep: timedelta | None) -> None:
        """Make a courier. `keep` is for how long events can be read; None: for ever."""
        self._session = session
        self._keep = keep
        self._leads = False
        self._last_seq = 0
        self._troubles = Troubles()
        self._throttle = Throttle()
        self._forgot_at = self._rang_at = 0.0

    def detail(self) -> dict[str, Any]:
        """Return the heartbeat's detail."""
        trouble = self._troubles.detail()
        if not trouble and self._session.is_unled:
            trouble = {"trouble": "nobody leads"}
        return {"leads": self._leads, **trouble}

    async def run(self, stop: asyncio.Event) -> None:
        """Give numbers to events until `stop` is set."""
        while not stop.is_set():
            pause_s = await self._step()
            if pause_s:
                await process.pause(stop, pause_s)
        await self._session.give_up()
        await self._session.close()

    async def _step(self) -> float:
        """Give numbers to what waits; return for how long to pause, in seconds."""
        try:
            self._leads = await self._session.lead()
            if not self._leads:
                self._troubles.forget()
                EVENT_BATCHES_WAITING.set(0)
                EVENTS_LAST_SEQ.set(0)
                return STANDING_BY_S
            numbered = await self._session.number()
            self._troubles.went_well("number")
            EVENTS_LAST_SEQ.set(numbered.last_seq)
            if numbered.batches:
                EVENT_NUMBERING_SECONDS.observe(numbered.age_s)
            if numbered.batches == BATCHES_MAX:
                await self._ring()
                EVENT_BATCHES_WAITING.set((await self._session.waiting())[0])
                return 0.0
            EVENT_BATCHES_WAITING.set(0)
            await self._ring()
            await self._forget()
        except Exception as error:  # noqa: BLE001 - a step that fails is taken again
            await self._session.close()
            self._leads = False
            self._troubles.failed("number", error)
            if self._throttle.lets_through():
                log.warning("courier_waits", exc_info=is_odd(error), error=f"{type(error).__name__}: {error}")
            return FAILED_S
        return IDLE_S

    async def _ring(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._rang_at >= RING_S:
            self._rang_at = now
            await self._session.ring()

    async def _forget(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._keep is None or now - self._forgot_at < FORGET_S:
            return
        if not await self._session.forget(self._keep):
            self._forgot_at = now


async def run_courier(settings: Settings, stop: asyncio.Event, tasks: SupervisedTasks) -> None:
    """Give numbers to events until `stop` is set."""
    session = CourierSession(settings.database, settings.event_kinds)
    courier = Courier(session, timedelta(days=settings.events_days) if settings.events_days else None)
    reader = Reader(settings.database, size=1)
    beating = tasks.start("heartbeat", lambda: beat_for_ever(reader, "courier", courier.detail))
    numbering = tasks.start("courier", lambda: courier.run(stop), ends_when=stop.is_set)
    try:
        await stop.wait()
        await numbering.ended()
    finally:
        await beating.stop()
        reader.terminate()


def main() -> int:
    """Run a courier process."""
    settings = process.boot("courier")
    serve_metrics(settings.http_host, settings.metrics_port)

    async def until(stop: asyncio.Event, tasks: SupervisedTasks) -> None:
        await run_courier(settings, stop, tasks)

    return process.run(until)


if __name__ == "__main__":
    raise SystemExit(main())

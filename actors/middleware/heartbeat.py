"""Reports every few seconds that this process is alive, and the bank's state as it sees it."""

import asyncio
from collections.abc import Sequence
from threading import Thread
from typing import Any

from dramatiq import Broker, Worker
from dramatiq.middleware import Middleware
from dramatiq.worker import ConsumerThread

from actors.consumer import Consumer
from actors.middleware.resources import Resources, run_on_loop
from db.heartbeats import beat_for_ever
from runtime import beat
from runtime.tasks import SupervisedTask

_LOOK_S = 1.0
_FAILING_S = 5.0
"""A writer is failing if it could serve nobody less than this long ago and no write has succeeded since."""


class HeartbeatMiddleware(Middleware):
    """Beats on the actors' event loop, so that the beat stops if the loop hangs."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._task: SupervisedTask | None = None
        self._watch: SupervisedTask | None = None
        self._consumers: list[ConsumerThread] = []

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Start the beat, once the worker's threads have started."""
        run_on_loop(self._start(worker))

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Stop the beat, when the worker is told to stop."""
        run_on_loop(self._stop())

    async def _start(self, worker: Worker) -> None:
        resources = self._resources
        self._consumers = list(worker.consumers.values())
        threads = [*self._consumers, *worker.workers]
        self._watch = resources.tasks.start("worker-threads", lambda: _watch(threads))
        self._task = resources.tasks.start(
            "heartbeat", lambda: beat_for_ever(resources.reader, "actors", self._detail)
        )
        beat.start(resources.tasks)

    async def _stop(self) -> None:
        for task in (self._watch, self._task):
            if task is not None:
                await task.stop()

    def _detail(self) -> dict[str, Any]:
        resources = self._resources
        writers = (resources.withdrawals.last_begins, resources.withdrawals.last_transitions)
        failing = [
            reason
            for writer in writers
            if (reason := writer.failing(_FAILING_S) or writer.failing_kind(_FAILING_S)) is not None
        ]
        return {
            **self._rabbitmq(),
            "bank": resources.breaker.bank_state,
            "payouts": resources.gate.standing,
            **({"trouble": f"withdrawals: {failing[0]}"} if failing else {}),
        }

    def _rabbitmq(self) -> dict[str, str]:
        """Return whether each queue delivers messages; nothing without RabbitMQ."""
        if not self._resources.settings.rabbitmq_url:
            return {}
        consumers = [thread.consumer for thread in self._consumers]
        consuming = all(isinstance(one, Consumer) and one.is_consuming for one in consumers)
        return {"rabbitmq": "ok" if consuming else "away"}


async def _watch(threads: Sequence[Thread]) -> None:
    """Fail while one of dramatiq's threads has ended: nothing else would show it, and nothing restarts the thread."""
    while True:
        if ended := [thread.name for thread in threads if not thread.is_alive()]:
            raise RuntimeError(f"threads have ended: {', '.join(ended)}")
        await asyncio.sleep(_LOOK_S)

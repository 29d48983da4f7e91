"""Says every few seconds that this process is alive, and how it finds the bank."""

from typing import Any

from dramatiq import Broker, Worker
from dramatiq.middleware import Middleware

from actors.heartbeat import beat_for_ever
from actors.middleware.resources import Resources, run_on_loop
from runtime import beat
from runtime.tasks import SupervisedTask


class Heartbeat(Middleware):
    """Beats on the actors' event loop, so that a loop that hangs shows as a heart that stopped."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._task: SupervisedTask | None = None

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Called when the worker's threads have started."""
        run_on_loop(self._start())

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Called when the worker is told to stop."""
        run_on_loop(self._stop())

    async def _start(self) -> None:
        resources = self._resources
        self._task = resources.tasks.start(
            "heartbeat", lambda: beat_for_ever(resources.reader, "actors", self._detail)
        )
        beat.start(resources.tasks)

    async def _stop(self) -> None:
        if self._task is not None:
            await self._task.stop()

    def _detail(self) -> dict[str, Any]:
        resources = self._resources
        return {"bank": "ok" if resources.breaker.closed else "away", "payouts": resources.gate.standing}

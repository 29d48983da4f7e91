"""The turns at webhook endpoints that are under way in this process.

They are tasks on the actors' event loop, and hold none of its threads: an endpoint that hangs holds up neither others
nor payouts.
"""

import asyncio
from uuid import UUID

from actors.webhook_turn import Turn
from db.connections import Reader
from db.webhook_turns import Patience
from runtime.settings import Settings
from runtime.telemetry import log
from runtime.throttle import Throttle
from runtime.webhook_calls import WebhookCalls
from wallet.errors import TryLater
from wallet.user_ids import spelling

TURNS_MAX = 100
"""Turns at once, per process: as many as there can be endpoints."""
_STOP_S = 2.0
_CONNECTIONS = 2


class WebhookTurns:
    """The turns of this process. All methods are called on one event loop."""

    def __init__(self, settings: Settings, patience: Patience | None = None) -> None:
        self._reader = Reader(settings.database, _CONNECTIONS)
        self._calls = WebhookCalls(private=bool(settings.webhooks_private))
        self._spell = spelling(settings.user_ids)
        self._patience = patience or Patience()
        self._turns: dict[UUID, asyncio.Task[None]] = {}
        self._stopping = False
        self._throttle = Throttle()

    def begin(self, endpoint_id: UUID) -> None:
        """Begin a turn at an endpoint, unless one is under way here, or too many are."""
        if self._stopping or endpoint_id in self._turns or len(self._turns) >= TURNS_MAX:
            return
        task = asyncio.create_task(self._run(endpoint_id), name=f"webhook {endpoint_id}")
        self._turns[endpoint_id] = task
        task.add_done_callback(lambda _: self._turns.pop(endpoint_id, None))

    async def stop(self) -> None:
        """Give the calls under way a moment to end; cut off the others, whose events are told again."""
        self._stopping = True
        if self._turns:
            _, late = await asyncio.wait(self._turns.values(), timeout=_STOP_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._calls.close()
        self._reader.terminate()

    async def _run(self, endpoint_id: UUID) -> None:
        turn = Turn(
            endpoint_id, self._reader, self._calls, self._spell, self._patience, lambda: self._stopping
        )
        try:
            await turn.run()
        except Exception as error:  # noqa: BLE001  # the lease ends, and the courier rings again
            if self._throttle.lets_through():
                log.warning(
                    "webhook_turn_failed",
                    exc_info=not isinstance(error, TryLater),
                    webhook_id=endpoint_id,
                    error=f"{type(error).__name__}: {error}",
                )

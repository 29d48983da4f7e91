"""Opens the actors' resources on their event loop, and closes them after the last payout."""

import asyncio
import os
from collections.abc import Coroutine
from typing import Any

from dramatiq import Broker, Worker
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.middleware import Middleware
from tenacity import AsyncRetrying, stop_after_attempt, wait_exponential_jitter

from actors.bank import open_bank
from actors.bank.breaker import Breaker, WatchedBank
from actors.bank.protocol import Bank
from actors.gate import PayoutGate
from actors.webhook_turns import WebhookTurns
from db.connections import Reader
from db.withdrawals import Withdrawals
from runtime.settings import Settings
from runtime.tasks import SupervisedTasks
from runtime.telemetry import log

_OPEN_TRIES = 5
_CLOSE_TIMEOUT_S = 10.0


class Resources(Middleware):
    """Holds the writer of withdrawals, the bank with its circuit breaker, and a reader."""

    withdrawals: Withdrawals
    bank: Bank
    breaker: Breaker
    gate: PayoutGate
    reader: Reader
    webhook_turns: WebhookTurns
    tasks: SupervisedTasks
    """The tasks of the actors' event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Open everything, after the event loop has started and before any message is taken.

        dramatiq logs and swallows an ordinary exception in this hook, and the worker would go on without a database;
        dramatiq's `MiddlewareError` hangs the process. So any failure exits the process.
        """
        try:
            run_on_loop(self._open_with_retries())
        except Exception:  # noqa: BLE001  # whatever it is, the process can't go on
            log.error("actors_not_started", exc_info=True)
            os._exit(1)

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """End all waits for the bank, when the worker is told to stop."""
        thread = get_event_loop_thread()
        if thread is not None:
            thread.loop.call_soon_threadsafe(self.breaker.stop)
            thread.loop.call_soon_threadsafe(self.gate.stop)

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Close everything, after the last payout and before the event loop stops."""
        run_on_loop(self._close())

    async def _open_with_retries(self) -> None:
        retrying = AsyncRetrying(
            stop=stop_after_attempt(_OPEN_TRIES),
            wait=wait_exponential_jitter(initial=0.1, max=2),
            reraise=True,
        )
        await retrying(self._open)

    async def _open(self) -> None:
        # None of these needs its server yet: each connects at its first use.
        self.tasks = SupervisedTasks()
        self.reader = Reader(self.settings.database, size=2)
        self.breaker = Breaker.of(self.settings)
        bank = open_bank(self.settings.for_bank)
        self.bank = WatchedBank(bank, self.breaker)
        self.tasks.start("bank-probe", lambda: self.breaker.probe(bank))
        self.withdrawals = Withdrawals(self.settings, self.tasks)
        self.withdrawals.start()
        self.gate = PayoutGate(self.reader)
        self.tasks.start("payout-gate", self.gate.watch)
        self.webhook_turns = WebhookTurns(self.settings)

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self.webhook_turns.stop()
                await self.withdrawals.stop()
                await self.bank.close()
                self.reader.terminate()
                await self.tasks.stop()
        except TimeoutError:
            log.warning("actors_closed_late")


def run_on_loop(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on the actors' event loop and wait for it."""
    thread = get_event_loop_thread()
    assert thread is not None, "UvloopAsyncIO stands before this middleware"
    thread.run_coroutine(coroutine)

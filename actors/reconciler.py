"""The reconciler, `python -m actors.reconciler`: the guarantee that every withdrawal ends.

At every beat it measures, announces overdue withdrawals again, writes the releases of matured locks and does due
look-ups; every few beats it compares our ledger with the bank's books. Several may run: one leads, the others stand by.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from actors import messages, process
from actors.amqp import AmqpConnection, AmqpError
from actors.bank import open_bank, require_bank
from actors.bank.protocol import BooksUnreadable
from actors.history import HistoryGuard
from actors.metrics import serve_metrics
from actors.nightly import NightlyAudit
from actors.reconciliation import BankComparison
from actors.troubles import Troubles
from actors.vitals import Vitals
from db.activity import forget_activity
from db.connections import Reader
from db.errors import is_odd
from db.heartbeats import beat_for_ever, forget_old
from db.reconciliation import ReconcilerSession
from db.vitals import VitalsSession
from db.withdrawals import Withdrawals
from runtime.audit_times import audit_time
from runtime.host_names import items
from runtime.settings import Settings
from runtime.slices import BrokerSettings
from runtime.tasks import SupervisedTasks
from runtime.telemetry import (
    OUTBOX_AGE_SECONDS,
    OUTBOX_DEPTH,
    QUEUE_MESSAGES,
    RECONCILER_ACTIONS,
    RECONCILER_BEATS,
    WITHDRAWALS_OPEN,
    log,
)
from wallet.withdrawal import OPEN_STATES

REDRIVE_MAX = 1_000
"""Number of waiting messages, in the outbox and the queue together, up to which due withdrawals are announced."""

REDRIVE_MIN = 10
"""Number of withdrawals announced per beat however long the queue is: a queue that never empties starves none."""

RELEASES_MAX = 20
"""Number of release transactions per beat."""

OPEN_MAX = 200
"""Number of open withdrawals looked up per beat while payouts are paused or history was lost."""

BEATS_A_ROUND = 5
"""Number of beats between two readings of the bank's books, and between two removals of old heartbeats."""


class Reconciler:
    """Takes its steps at each beat. A step that fails is logged and tried again at the next beat."""

    def __init__(
        self,
        session: ReconcilerSession,
        books: BankComparison,
        reader: Reader,
        *,
        broker: BrokerSettings | None,
        interval_ms: int,
    ) -> None:
        """Make a reconciler. `broker` is None without RabbitMQ; a beat comes every `interval_ms`."""
        self._history = HistoryGuard(session, books)
        self._broker = broker
        self._interval_s = interval_ms / 1000
        self._session = session
        self._books = books
        self._reader = reader
        self._rabbitmq: AmqpConnection | None = None
        self._queued = 0
        self._leads = False
        self._bank_state: str | None = None
        """The bank's state at the last reading of its books; None while this process does not read them."""
        self._troubles = Troubles()

    def detail(self) -> dict[str, Any]:
        """Return the heartbeat's detail."""
        bank = {} if self._bank_state is None else {"bank": self._bank_state}
        trouble = self._troubles.detail()
        if not trouble and self._session.is_unled:
            trouble = {"trouble": "nobody leads"}
        return {
            "leads": self._leads,
            "rabbitmq": self._rabbitmq_state(),
            "payouts": self._history.standing,
            **bank,
            **trouble,
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Beat until `stop` is set."""
        beat = 0
        while not stop.is_set():
            steps = [self._history.look, self._measure, self._redrive, self._release, self._look_up]
            if beat % BEATS_A_ROUND == 0:
                steps += [self._read_books, self._note_discrepancies, self._forget_old]
            for step in steps:
                await self._guarded(step)
            if self._leads:
                RECONCILER_BEATS.inc()
            beat += 1
            await process.pause(stop, self._interval_s)
        await self._close()

    async def _guarded(self, step: Callable[[], Awaitable[None]]) -> None:
        """Take a step if this process leads. An error in it does not stop the next step."""
        what = "lead"
        try:
            self._leads = await self._session.lead()
            self._troubles.went_well(what)
            if self._leads:
                what = step.__name__.lstrip("_")
                await step()
                self._troubles.went_well(what)
            else:
                self._troubles.forget()
                self._bank_state = None
                if step == self._measure:
                    await self._look_at_rabbitmq()
                    _forget_gauges()
        except Exception as error:  # noqa: BLE001  # a step that fails must not stop the others
            await self._session.close()
            self._troubles.failed(what, error)
            text = f"{type(error).__name__}: {error}"
            if isinstance(error, AmqpError) or not is_odd(error):
                self._leads = False
                log.warning("reconciler_waits", step=step.__name__, error=text)
            else:
                log.error("reconciler_step_failed", exc_info=True, step=step.__name__, error=text)

    # --- The steps ---

    async def _measure(self) -> None:
        queued = await self._look_at_rabbitmq()
        waiting, age_s = await self._session.outbox_depth()
        OUTBOX_DEPTH.set(waiting)
        OUTBOX_AGE_SECONDS.set(age_s)
        self._queued = waiting + queued
        found = await self._session.count_open()
        for status in OPEN_STATES:
            WITHDRAWALS_OPEN.labels(status.value).set(found.get(status.value, 0))

    async def _redrive(self) -> None:
        """Announce due and stranded withdrawals again, without filling a long queue with duplicates of its messages."""
        if self._history.paused:
            return  # the messages would only wait in the queue; due withdrawals are announced after the pause
        redriven = await self._session.redrive_due(max(REDRIVE_MIN, REDRIVE_MAX - self._queued))
        if redriven:
            RECONCILER_ACTIONS.labels("redriven").inc(redriven)

    async def _release(self) -> None:
        for _ in range(RELEASES_MAX):
            released = await self._session.release_matured()
            if not released:
                return
            RECONCILER_ACTIONS.labels("released").inc(released)

    async def _look_up(self) -> None:
        """Look up withdrawals about which the bank called back, or about which its books differ from ours."""
        if not self._history.is_plain:
            await self._session.look_up_open(OPEN_MAX)
        await self._books.look_ups.work_off()

    async def _read_books(self) -> None:
        try:
            await self._books.take_turn()
        except BooksUnreadable as error:
            self._bank_state = f"away: {error}"
            log.warning("bank_books_unreadable", error=str(error))
        else:
            self._bank_state = "ok"

    async def _note_discrepancies(self) -> None:
        seen = self._books.discrepancies.take_seen()
        await self._session.note_discrepancies(
            [(one.kind, one.reference, one.bank, one.ours) for one in seen]
        )

    async def _forget_old(self) -> None:
        await forget_old(self._reader)
        await forget_activity(self._reader)

    # --- RabbitMQ ---

    async def _look_at_rabbitmq(self) -> int:
        """Return the number of messages waiting in the queue; 0 if it is unknown."""
        if self._broker is None:
            return 0
        try:
            if self._rabbitmq is None or not self._rabbitmq.is_open:
                self._rabbitmq = await AmqpConnection.open(self._broker)
                await self._rabbitmq.declare_queues(self._broker)
            waiting = await self._rabbitmq.message_count(messages.QUEUE)
            QUEUE_MESSAGES.labels(messages.QUEUE).set(waiting)
            dead = await self._rabbitmq.message_count(messages.DEAD_LETTER_QUEUE)
            QUEUE_MESSAGES.labels(messages.DEAD_LETTER_QUEUE).set(dead)
        except AmqpError as error:
            log.warning("rabbitmq_away", error=str(error))
            return 0
        return waiting

    def _rabbitmq_state(self) -> str:
        if self._broker is None:
            return "in_memory"
        return "ok" if self._rabbitmq is not None and self._rabbitmq.is_open else "away"

    async def _close(self) -> None:
        if self._rabbitmq is not None:
            await self._rabbitmq.close()
        await self._session.give_up()
        await self._session.close()


def _forget_gauges() -> None:
    """Clear the gauges, because another process leads: two sources of one gauge would be added up."""
    OUTBOX_DEPTH.set(0)
    OUTBOX_AGE_SECONDS.set(0)
    WITHDRAWALS_OPEN.clear()
    QUEUE_MESSAGES.clear()


async def run_reconciler(settings: Settings, stop: asyncio.Event, tasks: SupervisedTasks) -> None:
    """Reconcile until `stop` is set."""
    session = ReconcilerSession(settings)
    bank = open_bank(settings.for_bank)
    withdrawals = Withdrawals(settings, tasks)
    withdrawals.start()
    reader = Reader(settings.database, size=1)
    comparison = BankComparison(bank, session, withdrawals, settings.our_decline_codes)
    reconciler = Reconciler(
        session, comparison, reader, broker=settings.broker, interval_ms=settings.reconcile_interval_ms
    )
    beating = tasks.start("heartbeat", lambda: beat_for_ever(reader, "reconciler", reconciler.detail))
    reconciling = tasks.start("reconciler", lambda: reconciler.run(stop), ends_when=stop.is_set)
    vitals = Vitals(
        VitalsSession(settings.database), settings.default_currency, sorted(items(settings.watched_folders))
    )
    others = [tasks.start("vitals", vitals.run)]
    at = audit_time(settings.audit_at)
    if at is not None:
        others.append(tasks.start("nightly-audit", NightlyAudit(settings.database, at).run))
    try:
        await stop.wait()
        await reconciling.ended()
    finally:
        for task in others:
            await task.stop()
        await beating.stop()
        await withdrawals.stop()
        await bank.close()
        reader.terminate()


def main() -> int:
    """Run a reconciler process."""
    settings = process.boot("reconciler", check=require_bank)
    serve_metrics(settings.http_host, settings.metrics_port)

    async def until(stop: asyncio.Event, tasks: SupervisedTasks) -> None:
        await run_reconciler(settings, stop, tasks)

    return process.run(until)


if __name__ == "__main__":
    raise SystemExit(main())

"""What the endpoints work with: made here, started and ended together."""

from dataclasses import dataclass
from functools import partial

from db.ledger import Ledger
from db.trial import try_to_write
from db.withdrawals import Withdrawals
from gateway.long_poll import EndStateWatcher
from gateway.readiness import Readiness
from gateway.reads import Reads
from gateway.wire.metrics import MetricsFlusher
from gateway.wire.request_reader import RequestReader
from runtime.settings import Settings
from runtime.tasks import SupervisedTasks


@dataclass(slots=True)
class Services:
    """Everything that lives as long as the process."""

    settings: Settings
    tasks: SupervisedTasks
    """Everything that runs for as long as the process does; those that can't are named by `tasks.failing()`."""
    requests: RequestReader
    ledger: Ledger
    withdrawals: Withdrawals
    reads: Reads
    watcher: EndStateWatcher
    flusher: MetricsFlusher
    readiness: Readiness
    draining: bool = False
    """No new connections are taken; what is under way is finished."""

    @classmethod
    def make(cls, settings: Settings) -> "Services":
        """Make them; nothing runs or connects yet."""
        tasks = SupervisedTasks()
        reads = Reads(settings, tasks)
        ledger, withdrawals = Ledger(settings, tasks), Withdrawals(settings, tasks)
        return cls(
            settings,
            tasks,
            RequestReader(settings.default_currency),
            ledger,
            withdrawals,
            reads,
            EndStateWatcher(reads.ended, tasks),
            MetricsFlusher(tasks),
            Readiness([ledger.last_writes, withdrawals.last_moves], partial(try_to_write, settings)),
        )

    async def start(self) -> None:
        """Start them; the database may be away, they connect when they can."""
        self.reads.start()
        self.ledger.start()
        self.withdrawals.start()
        self.watcher.start()
        self.flusher.start()

    def begin_draining(self) -> None:
        """Say not ready, and let nobody wait any more: the process is about to end."""
        self.draining = True
        self.watcher.release()

    async def stop(self) -> None:
        """End them, writers first: the commands that they have taken are still written."""
        await self.ledger.stop()
        await self.withdrawals.stop()
        await self.watcher.stop()
        await self.reads.stop()
        await self.flusher.stop()
        await self.tasks.stop()

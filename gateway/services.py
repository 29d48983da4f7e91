"""The objects that the endpoints work with: made here, started and ended together."""

from dataclasses import dataclass
from functools import partial

from db.ledger import Ledger
from db.withdrawals import Withdrawals
from db.write_trial import try_to_write
from gateway.contract.user_ids import UserIds
from gateway.event_feed import EventFeed
from gateway.intake import Intake
from gateway.key_directory import KeyDirectory
from gateway.long_poll import LongPoll
from gateway.rate_sharing import RateSharing
from gateway.readiness import Readiness
from gateway.reads import Reads
from gateway.wire.auth import wrong_key_limiter
from gateway.wire.metrics import MetricsFlusher
from gateway.wire.rate_limits import RateLimiter
from gateway.wire.request_reader import RequestReader
from gateway.wire.transfer_reader import TransferReader
from runtime.settings import Settings
from runtime.tasks import SupervisedTasks
from runtime.webhook_calls import WebhookCalls


@dataclass(slots=True)
class Services:
    """All objects that live as long as the process."""

    settings: Settings
    user_ids: UserIds
    tasks: SupervisedTasks
    """The tasks that run as long as the process does; `tasks.failing()` names those that can't."""
    intake: Intake
    requests: RequestReader
    transfer_requests: TransferReader
    ledger: Ledger
    withdrawals: Withdrawals
    reads: Reads
    long_poll: LongPoll
    event_feed: EventFeed
    webhook_calls: WebhookCalls
    api_keys: KeyDirectory
    flusher: MetricsFlusher
    readiness: Readiness
    limiter: RateLimiter | None
    wrong_keys: RateLimiter
    rate_sharing: RateSharing
    draining: bool = False
    """Whether the process is about to end: no new connections, and requests under way are finished."""

    @classmethod
    def make(cls, settings: Settings) -> "Services":
        """Return the services; nothing runs or connects yet."""
        tasks, user_ids = SupervisedTasks(), UserIds(settings.user_ids)
        limiter = RateLimiter(settings.rate_limit_per_s) if settings.rate_limit_per_s else None
        wrong_keys = wrong_key_limiter()
        limiters = (
            {"addresses": wrong_keys} if limiter is None else {"addresses": wrong_keys, "keys": limiter}
        )
        reads = Reads(settings, tasks)
        ledger, withdrawals = Ledger(settings, tasks), Withdrawals(settings, tasks)
        return cls(
            settings,
            user_ids,
            tasks,
            Intake(settings.taken_currencies, settings.limits, ledger.submit, reads.known_before),
            RequestReader(settings.default_currency, user_ids),
            TransferReader(settings.default_currency, user_ids),
            ledger,
            withdrawals,
            reads,
            LongPoll(reads.ended, tasks),
            EventFeed(reads, tasks),
            WebhookCalls(private=bool(settings.webhooks_private)),
            KeyDirectory(settings, tasks),
            MetricsFlusher(tasks),
            Readiness(
                [
                    ledger.last_writes,
                    ledger.last_doubtful_writes,
                    ledger.last_follow_ups,
                    withdrawals.last_transitions,
                ],
                partial(try_to_write, settings.database),
            ),
            limiter,
            wrong_keys,
            RateSharing(settings, tasks, limiters),
        )

    async def start(self) -> None:
        """Start all. The database may be away: they connect when it is there."""
        await self.api_keys.start()
        await self.rate_sharing.start()
        self.reads.start()
        self.ledger.start()
        self.withdrawals.start()
        self.long_poll.start()
        self.event_feed.start()
        self.flusher.start()

    def begin_draining(self) -> None:
        """Report not ready from now on, and end all long polls and streams."""
        self.draining = True
        self.long_poll.release()
        self.event_feed.release()

    async def stop(self) -> None:
        """End all, writers first: they still write the commands that they have taken."""
        await self.ledger.stop()
        await self.withdrawals.stop()
        await self.long_poll.stop()
        await self.event_feed.stop()
        await self.webhook_calls.close()
        await self.api_keys.stop()
        await self.rate_sharing.stop()
        await self.reads.stop()
        await self.flusher.stop()
        await self.tasks.stop()

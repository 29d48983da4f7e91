"""Metrics and log events of every process: the only place with the metrics' names, labels and units.

If PROMETHEUS_MULTIPROC_DIR is set (several gateways on one port), prometheus_client keeps the values in files there;
it reads the variable when it is imported.
"""

import json
import logging
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import product
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from runtime.throttle import FloodGuard
from runtime.trail import trail

_FAST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_SLOW_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LONG_S = (0.1, 0.5, 1, 5, 30, 60, 300, 1_800, 3_600, 86_400)

BEAT_TIMESTAMP_SECONDS = Gauge(
    "wbs_beat_timestamp_seconds",
    "When the event loop that does the work last turned.",
    multiprocess_mode="livemostrecent",
)
HEALTH = Gauge(
    "wbs_health",
    "1 for the status that GET /health reports, 0 for the others; it is asked at each scrape.",
    ["status"],
    multiprocess_mode="livemostrecent",
)
HEALTH_REASON = Gauge(
    "wbs_health_reason",
    "1 for each reason that GET /health gives.",
    ["code"],
    multiprocess_mode="livemostrecent",
)

HTTP_REQUESTS = Counter("wbs_http_requests", "Answers given.", ["route", "method", "status"])
HTTP_REQUEST_SECONDS = Histogram(
    "wbs_http_request_seconds", "Time to the answer.", ["route"], buckets=_FAST_S
)
REFUSALS = Counter("wbs_refusals", "Requests refused, by code.", ["code"])
REFUSALS_DELAYED = Counter(
    "wbs_refusals_delayed", "Times that a client had to wait because it is refused so often."
)
WRONG_KEYS = Counter("wbs_wrong_keys", "Requests with an API key that is unknown, revoked or expired.")
RATE_LIMITS_UNSHARED = Gauge(
    "wbs_rate_limits_unshared",
    "1 while this gateway does not know what clients use at others, and grants its part of each limit.",
    multiprocess_mode="livesum",
)
CONNECTIONS_CUT = Counter(
    "wbs_connections_cut", "Connections ended: their clients did not read what was sent.", ["reason"]
)
MEMORY_REFUSALS = Counter(
    "wbs_memory_refusals", "Bodies and responses for which there was no room (WBS_BUFFERS_MB_MAX)."
)
LONG_POLLS_REFUSED = Counter(
    "wbs_long_polls_refused", "Requests with `wait` answered at once: their client has all its places."
)
CONNECTIONS_REFUSED = Counter(
    "wbs_connections_refused", "Connections refused: too many in all, or of one address.", ["bound"]
)
IDEMPOTENT_REPLAYS = Counter("wbs_idempotent_replays", "Requests answered from their key.")

BATCH_SIZE = Histogram(
    "wbs_batch_size",
    "Requests in one transaction.",
    ["kind"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
)
BATCH_SECONDS = Histogram("wbs_batch_seconds", "Time of one transaction.", ["kind"], buckets=_FAST_S)
BACKLOG = Gauge("wbs_backlog", "Requests waiting for a transaction.", ["kind"], multiprocess_mode="livesum")
DB_POOL_CONNECTIONS = Gauge(
    "wbs_db_pool_connections", "Connections of the read pool.", ["state"], multiprocess_mode="livesum"
)

OUTBOX_DEPTH = Gauge("wbs_outbox_depth", "Messages not yet published.")
OUTBOX_AGE_SECONDS = Gauge("wbs_outbox_age_seconds", "Age of the oldest of them.")
WITHDRAWALS_OPEN = Gauge("wbs_withdrawals_open", "Withdrawals that have not ended.", ["status"])
WITHDRAWALS_ENDED = Counter("wbs_withdrawals_ended", "Withdrawals that reached this state.", ["status"])
WITHDRAWAL_SECONDS = Histogram(
    "wbs_withdrawal_seconds", "Time from the acceptance of a withdrawal to its end.", buckets=_LONG_S
)
WITHDRAWALS_AMOUNT = Gauge(
    "wbs_withdrawals_amount", "Minor units that withdrawals hold that have not ended.", ["stage", "currency"]
)
WITHDRAWALS_OLDEST_SECONDS = Gauge(
    "wbs_withdrawals_oldest_seconds",
    "Age of the oldest withdrawal that has not ended; `accepted`: the bank has it and will say later.",
    ["stage"],
)
QUEUE_MESSAGES = Gauge("wbs_queue_messages", "Messages ready in RabbitMQ.", ["queue"])

BANK_CALLS = Counter("wbs_bank_calls", "Bank calls by how they ended.", ["operation", "outcome"])
BANK_CALL_SECONDS = Histogram("wbs_bank_call_seconds", "Time of a bank call.", ["operation"], buckets=_SLOW_S)
BANK_RETRIES = Counter("wbs_bank_retries", "Bank calls beyond the first of their round.")
ROUNDS_RESCHEDULED = Counter("wbs_rounds_rescheduled", "Rounds that ended without an outcome.")
PAYOUTS_PAUSED = Gauge("wbs_payouts_paused", "1 while the bank must not be asked to pay.")
CONTRADICTIONS = Counter(
    "wbs_bank_contradictions", "Answers of the bank that contradict its earlier ones; no money moved."
)
DEAD_LETTERS = Counter(
    "wbs_dead_letters", "Messages dead-lettered because their withdrawal requires attention."
)
MESSAGES_REJECTED = Counter("wbs_messages_rejected", "Foreign messages, dead-lettered at once.", ["reason"])

SPANS_DROPPED = Counter(
    "wbs_spans_dropped",
    "Spans that the collector did not take, or that found no room in the queue.",
    ["reason"],
)

TASK_RESTARTS = Counter(
    "wbs_task_restarts", "Tasks meant to live as long as their process that ended and began anew.", ["task"]
)

RELAY_PUBLISHED = Counter("wbs_relay_published", "Messages confirmed by RabbitMQ.")
RELAY_PUBLISH_FAILURES = Counter("wbs_relay_publish_failures", "Publishing attempts that failed.")
EVENT_BATCHES_WAITING = Gauge("wbs_event_batches_waiting", "Batches whose events have no number yet.")
EVENTS_WAITING_SECONDS = Gauge(
    "wbs_events_waiting_seconds", "For how long the oldest batch of events has waited for its numbers."
)
EVENTS_LAST_SEQ = Gauge("wbs_events_last_seq", "The number of the last event.")
WEBHOOK_ENDPOINTS = Gauge("wbs_webhook_endpoints", "Webhooks, enabled and disabled ones.", ["status"])
WEBHOOK_DELIVERIES = Counter("wbs_webhook_deliveries", "Calls to webhook endpoints.", ["status"])
EVENT_NUMBERING_SECONDS = Histogram(
    "wbs_event_numbering_seconds", "From the commit of a batch to the numbers of its events.", buckets=_SLOW_S
)
EVENT_STREAMS = Gauge(
    "wbs_event_streams", "Clients that read the stream of events.", multiprocess_mode="livesum"
)
RECONCILER_BEATS = Counter(
    "wbs_reconciler_beats", "Beats of the leading reconciler that reached the database."
)
RECONCILER_ACTIONS = Counter("wbs_reconciler_actions", "Corrections made by the reconciler.", ["action"])

AUDIT_LAST_SUCCESS = Gauge(
    "wbs_audit_last_success_timestamp_seconds",
    "When the last complete audit ended; before the first, since when audits are recorded.",
)
AUDIT_VIOLATIONS = Gauge("wbs_audit_violations", "Violations that the last complete audit found.")
AUDIT_SECONDS = Gauge("wbs_audit_seconds", "Time that it took.")
BACKUP_LAST_SUCCESS = Gauge(
    "wbs_backup_last_success_timestamp_seconds",
    "When the last recorded backup was taken; before the first, since when they are recorded.",
)
DATABASE_CONNECTIONS = Gauge("wbs_database_connections", "Sessions of the PostgreSQL server.")
DATABASE_CONNECTIONS_MAX = Gauge("wbs_database_connections_max", "Sessions that it admits of our roles.")
DATABASE_BYTES = Gauge("wbs_database_bytes", "Size of our database.")
WAL_BYTES = Gauge("wbs_wal_bytes", "Size of the WAL that the server keeps.")
WAL_ARCHIVE_AGE_SECONDS = Gauge(
    "wbs_wal_archive_age_seconds", "Time since a WAL file was last archived; 0 if none is to be archived."
)
REPLICAS = Gauge("wbs_replicas", "Standby servers that receive the WAL.")
REPLICATION_LAG_BYTES = Gauge("wbs_replication_lag_bytes", "WAL that the slowest of them has not replayed.")
DISK_FREE_BYTES = Gauge("wbs_disk_free_bytes", "Space that is left on the disk of this folder.", ["folder"])
DISK_BYTES = Gauge("wbs_disk_bytes", "Size of the disk of this folder.", ["folder"])
VITALS_UNREADABLE = Gauge(
    "wbs_vitals_unreadable", "1 while this measure can't be taken, for want of a right perhaps.", ["measure"]
)


def start_at_zero(metric: Counter | Gauge | Histogram, *values: Iterable[str]) -> None:
    """Show a metric for all combinations of the values of its labels, before anything was counted.

    A counter that appears with its first event does not show that event as an increase.
    """
    for labels in product(*values):
        metric.labels(*labels)


class EventLogger:
    """Writes one JSON object per line to standard error: time, level, process kind, event and its ids.

    Never pass a secret or a whole idempotency key.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, **ids: Any) -> None:
        """Log a detail that helps to find a fault."""
        self._log(logging.DEBUG, event, ids)

    def info(self, event: str, **ids: Any) -> None:
        """Log an expected event that is worth knowing."""
        self._log(logging.INFO, event, ids)

    def warning(self, event: str, exc_info: bool | BaseException = False, **ids: Any) -> None:
        """Log a problem that is being dealt with. `exc_info` is the same as for `error`."""
        self._log(logging.WARNING, event, ids, exc_info)

    def error(self, event: str, exc_info: bool | BaseException = False, **ids: Any) -> None:
        """Log a problem that a person must look at.

        `exc_info` adds the traceback: of the exception being handled, or of this one.
        """
        self._log(logging.ERROR, event, ids, exc_info)

    def _log(
        self, level: int, event: str, ids: dict[str, Any], exc_info: bool | BaseException = False
    ) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, extra={"ids": ids}, exc_info=exc_info)


class JsonFormatter(logging.Formatter):
    """Formats each event as one line of JSON; records of libraries become events too."""

    def __init__(self, process_kind: str) -> None:
        super().__init__()
        self._process_kind = process_kind

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "at": at,
            "level": record.levelname.lower(),
            "process": self._process_kind,
            "pid": record.process,
            "event": record.getMessage(),
        }
        # Ids come last and replace nothing: a client's value can never pass for one of our fields.
        line = line | getattr(record, "ids", {}) | line
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def configure_logging(process_kind: str, level: str) -> None:
    """Send every log record of this process to standard error as JSON lines, and the trail to standard output.

    Of the same warning or error, so many per second are written (`FloodGuard`). Call once, at start.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(process_kind))
    handler.addFilter(FloodGuard())
    if level in ("debug", "info"):
        trail.open(process_kind)
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for name in ("pika", "aiohttp.access", "sanic.access"):
        logging.getLogger(name).setLevel(logging.WARNING)


log = EventLogger(logging.getLogger("wbs"))

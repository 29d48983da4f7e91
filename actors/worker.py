"""dramatiq's worker, embedded: dramatiq's own command line forks, and ends everything when one process ends."""

import dramatiq

from actors import process
from actors.broker import compose
from runtime.settings import Settings
from runtime.spans import spans
from runtime.telemetry import log

WORKER_TIMEOUT_MS = 500
"""Interval at which idle threads check whether to stop. Neither messages nor acknowledgements wait for it."""

STOP_MARGIN_MS = 5_000


def start_worker(broker: dramatiq.Broker, threads: int) -> dramatiq.Worker:
    """Start the threads. If RabbitMQ is away, they try again every second."""
    broker.emit_after("process_boot")  # time limits are watched from here on
    worker = dramatiq.Worker(broker, worker_threads=threads, worker_timeout=WORKER_TIMEOUT_MS)
    worker.start()
    return worker


def stop_worker(worker: dramatiq.Worker, round_deadline_ms: int) -> None:
    """Let running payouts end (a round has a deadline); messages that were only fetched go back to the queue."""
    worker.stop(timeout=round_deadline_ms + STOP_MARGIN_MS)
    worker.broker.close()


def run_worker(settings: Settings) -> int:
    """Pay until told to stop; return 0."""
    stop = process.stop_event()
    worker = start_worker(compose(settings), settings.actor_threads)
    stop.wait()
    stop_worker(worker, settings.round_deadline_ms)
    spans.close()
    log.info("stopped")
    return 0

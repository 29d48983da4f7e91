"""An actor process: `python -m actors`. It is one OS process, so killing its pid ends all of it."""

from actors import in_memory, process
from actors.bank import require_bank
from actors.worker import run_worker
from runtime.telemetry import log


def main() -> int:
    """Pay until told to stop (SIGTERM, SIGINT), finish what is under way, return 0."""
    settings = process.boot("actors", check=require_bank)
    if settings.rabbitmq_url:
        return run_worker(settings)
    log.warning("no_rabbitmq", consequence="messages are kept in memory; what it loses, the outbox repeats")
    return in_memory.run(settings)


if __name__ == "__main__":
    raise SystemExit(main())

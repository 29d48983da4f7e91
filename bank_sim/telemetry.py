"""The bank's metrics and its log: JSON lines on stderr."""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import Any

import msgspec

# Inherited from whoever started us, it would make this one process count in the gateways' shared files.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)

from prometheus_client import Counter, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]

REQUESTS = Counter(
    "bank_requests", "Requests answered (status `dropped`: cut off on purpose)", ["route", "status"]
)
PAYOUTS = Counter("bank_payouts", "Payouts booked")
FAULTS = Counter("bank_faults", "Faults injected", ["fault"])
CALLBACKS = Counter("bank_callbacks", "Tries to tell the wallet what became of payouts", ["outcome"])
for _outcome in ("delivered", "failed"):
    CALLBACKS.labels(_outcome)  # from zero on, so that the first one shows as an increase


class _JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "process": "bank_sim",
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


_logger = logging.getLogger("bank_sim")


def set_up_logging() -> None:
    """Send everything, the server's own warnings included, to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLine())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    _logger.setLevel(os.environ.get("WBS_LOG_LEVEL", "INFO").upper())


def log(event: str, level: int = logging.INFO, *, exc_info: bool = False, **fields: Any) -> None:
    """Log one event with its fields."""
    _logger.log(level, event, exc_info=exc_info, extra={"fields": fields})

"""The secrets that each kind of process is told: one that is broken into betrays no more than it needed."""

from collections.abc import Mapping
from dataclasses import fields

from runtime.settings import Settings

_DATABASE = frozenset({"DATABASE_URL"})
_BROKER = frozenset({"RABBITMQ_URL"})
_BANK_LOGIN = frozenset(
    {
        "WBS_BANK_TOKEN",
        "WBS_BANK_TOKEN_FILE",
        "WBS_BANK_USER",
        "WBS_BANK_PASSWORD",
        "WBS_BANK_PASSWORD_FILE",
        "WBS_BANK_PROXY",
    }
)
_COLLECTOR = frozenset({"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"})
_CALLBACKS = frozenset({"WBS_BANK_WEBHOOK_SECRET"})

SECRETS = frozenset({str(item.metadata["env"]) for item in fields(Settings) if not item.repr})
SECRETS |= _BANK_LOGIN | _COLLECTOR
"""What `Settings` never shows, what goes with the bank's credentials, and what a collector may know us by."""

NEEDED = {
    "gateway": _DATABASE | _CALLBACKS | _COLLECTOR | {"WBS_METRICS_TOKEN"},
    "relay": _DATABASE | _BROKER,
    "actors": _DATABASE | _BROKER | _BANK_LOGIN | _COLLECTOR,
    "reconciler": _DATABASE | _BROKER | _BANK_LOGIN | _COLLECTOR,
    "courier": _DATABASE,
    "bank_sim": _CALLBACKS,
}
"""By kind of process. All others (servers, watchdogs, supervisord) are told none: what is theirs is in their files."""


def told(kind: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the secrets that a process of this kind does not need."""
    withheld = SECRETS - NEEDED.get(kind, frozenset())
    return {name: value for name, value in environment.items() if name not in withheld}

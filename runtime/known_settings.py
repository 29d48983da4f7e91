"""Variables that no code reads: a mistyped setting would silently have no effect."""

import difflib
import os
from collections.abc import Mapping
from dataclasses import fields

from runtime.settings import Settings
from runtime.telemetry import log

PREFIX = "WBS_"
ELSEWHERE = frozenset(
    {
        "WBS_APT_INSTALL",
        "WBS_BANK_DATA",
        "WBS_BANK_FAULTS",
        "WBS_BANK_HOST",
        "WBS_BEAT_FILE",
        "WBS_BROKER",
        "WBS_CALLBACK_URL",
        "WBS_CHAOS_SEED",
        "WBS_POSTGRES",
        "WBS_POSTGRES_BIN",
        "WBS_RABBITMQ_MANAGEMENT_URL",
    }
)
"""Variables that are not in `Settings`: `wbs up`, the bank simulator, the beat or the tests read them directly."""


def unknown_settings(environ: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """Return each WBS_ variable that no code reads, with the known variable that it resembles, if any."""
    environ = os.environ if environ is None else environ
    known = {str(item.metadata["env"]) for item in fields(Settings)} | ELSEWHERE
    unknown = sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
    return {name: next(iter(difflib.get_close_matches(name, known, 1)), None) for name in unknown}


def warning_of(name: str, nearest: str | None) -> str:
    """Return the sentence that warns of one unknown variable."""
    return f"{name} is set, and nothing reads it" + (f": is {nearest} meant?" if nearest else "")


def warn_of_unknown_settings() -> None:
    """Log a warning for each unknown variable, at the start of a process."""
    for name, nearest in unknown_settings().items():
        log.warning("unknown_setting", detail=warning_of(name, nearest))

"""The time of the nightly audit, as a setting spells it."""

from datetime import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.settings import Settings

NEVER = "never"


def audit_time(text: str) -> time | None:
    """Return the time of day, in UTC, that `WBS_AUDIT_AT` names; None for `never`. Raises ValueError."""
    if text == NEVER:
        return None
    at = time.fromisoformat(text)
    if at.tzinfo is not None:
        raise ValueError("the time is in UTC and takes no offset")
    return at


def audit_rules(settings: "Settings") -> list[tuple[bool, str]]:
    """Return whether the setting can be read, with the sentence for when it can't."""
    try:
        audit_time(settings.audit_at)
    except ValueError:
        return [(False, "WBS_AUDIT_AT must be a time of day (03:00), in UTC, or `never`")]
    return []

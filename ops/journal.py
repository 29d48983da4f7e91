"""The operators' journal of a stack: who restarted, scaled, backed up or restored it, and when.

What changes money or payouts is written into the database instead, with the operator's name. The journal is a log like
the others: `log/operators.log` in the state folder, one JSON object per line.
"""

import json
from datetime import UTC, datetime
from typing import Any

from ops.state import StateDir, private_opener

FILE = "operators.log"


def write(state: StateDir, event: str, by: str, **ids: Any) -> None:
    """Add a line. `by` is the operator, as `ops.operators.operator` says it."""
    line = {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "level": "info",
        "process": "wbs",
        "event": event,
        "by": by,
        **ids,
    }
    with open(state.log / FILE, "a", encoding="utf-8", opener=private_opener) as file:
        file.write(json.dumps(line, default=str, ensure_ascii=False) + "\n")

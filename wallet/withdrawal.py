"""The states of a withdrawal and the transitions between them (the diagram in docs/ARCHITECTURE.md).

The database has the same table as a trigger (db/migrations); a test compares the two.
"""

from enum import StrEnum
from itertools import pairwise


class Status(StrEnum):
    """The state of a withdrawal. `pending` means that the bank was never called."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REQUIRES_ATTENTION = "requires_attention"
    RETURNED = "returned"


LEGAL_MOVES: dict[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.CANCELLED, Status.PROCESSING}),
    Status.PROCESSING: frozenset({Status.COMPLETED, Status.FAILED, Status.REQUIRES_ATTENTION}),
    Status.REQUIRES_ATTENTION: frozenset({Status.PROCESSING, Status.COMPLETED, Status.FAILED}),
    Status.COMPLETED: frozenset({Status.RETURNED}),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
    Status.RETURNED: frozenset(),
}

END_STATES = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.RETURNED})
"""States without held money. (The bank may still return a completed withdrawal.)"""

OPEN_STATES = frozenset(Status) - END_STATES
"""States whose money is held."""


def can_move(source: Status, target: Status) -> bool:
    """Return whether a withdrawal in `source` may go to `target`."""
    return target in LEGAL_MOVES[source]


def is_legal_history(path: list[Status]) -> bool:
    """Return whether `path` starts at pending and takes only legal transitions."""
    if not path or path[0] is not Status.PENDING:
        return False
    return all(can_move(source, target) for source, target in pairwise(path))

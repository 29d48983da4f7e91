"""Lasting failures of a background process, for its heartbeat: the process runs, but part of its work fails."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from db.errors import is_odd, reason_of

AGE_S_MIN = 3.0
FAILURES_MIN = 2
"""A single failure may be over at the next beat; that is not worth an alarm."""

ITS_OWN_FAULT = "own_fault"


@dataclass(slots=True)
class _Trouble:
    since: float
    failures: int
    reason: str


class Troubles:
    """The pieces of work that fail, each by a name for people. Belongs to one event loop."""

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._found: dict[str, _Trouble] = {}

    def failed(self, what: str, error: BaseException) -> None:
        """Note a failure of `what`, perhaps not the first."""
        reason = ITS_OWN_FAULT if is_odd(error) else reason_of(error)
        known = self._found.get(what)
        self._found[what] = _Trouble(
            self._clock() if known is None else known.since,
            1 if known is None else known.failures + 1,
            reason,
        )

    def went_well(self, what: str) -> None:
        """Note that `what` succeeded."""
        self._found.pop(what, None)

    def forget(self) -> None:
        """Forget all failures, because another process does the work now."""
        self._found.clear()

    def detail(self) -> dict[str, str]:
        """Return the heartbeat's part: a member `trouble`, or nothing."""
        lasting = [
            f"{what}: {trouble.reason}"
            for what, trouble in self._found.items()
            if trouble.failures >= FAILURES_MIN and self._clock() - trouble.since >= AGE_S_MIN
        ]
        return {"trouble": ", ".join(lasting)} if lasting else {}

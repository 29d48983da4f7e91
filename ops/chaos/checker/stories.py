"""What happened to a wallet's money, and when it can have happened.

A *story* is one movement that took effect. Each of its steps happened at one instant that we do not know,
within a window that we do: not before it was first asked for, not after somebody was first told. So for a
read that lasted from `start` to `end` there are a few states in which the story can have been; their sums
over all stories are the balances that were possible.
"""

from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from ops.chaos.checker.evidence import CLOCK_SLACK_S

Vector = tuple[int, int, int]
"""withdrawable, locked, held: what a story in a certain state contributes to the wallet's balance."""

NOTHING: Vector = (0, 0, 0)


class Window(NamedTuple):
    """The instant lies within, ends included."""

    earliest: float
    latest: float

    def until(self, latest: float) -> "Window":
        """The window, now that somebody has seen it done at `latest`."""
        return Window(self.earliest, min(self.latest, latest))

    def since(self, earliest: float) -> "Window":
        """The window, now that it is known not to have been before `earliest`."""
        return Window(max(self.earliest, earliest), self.latest)


NEVER = Window(inf, inf)


@dataclass(slots=True)
class ChargeStory:
    """Money that came in, withdrawable from `release` on (run's second; None: from the beginning)."""

    id: str
    key: str
    wallet: str
    amount: int
    line: int
    began: Window
    created_at: str
    created: float
    """The same as a second of the run."""
    release: float | None = None

    @property
    def settled_after(self) -> float:
        """From then on nothing changes any more."""
        return max(self.began.latest, -inf if self.release is None else self.release + CLOCK_SLACK_S)

    def options(self, start: float, end: float) -> list[Vector]:
        """Return the contributions that a read between `start` and `end` can have seen."""
        found = []
        if self.began.latest >= start:
            found.append(NOTHING)
        if self.began.earliest <= end:
            if self.release is None or self.release - CLOCK_SLACK_S <= end:
                found.append((self.amount, 0, 0))
            if self.release is not None and self.release + CLOCK_SLACK_S >= start:
                found.append((0, self.amount, 0))
        return found


@dataclass(slots=True)
class WithdrawalStory:
    """Money reserved, then paid or given back, then perhaps returned by the bank."""

    id: str
    key: str
    wallet: str
    amount: int
    line: int
    began: Window
    created_at: str
    created: float
    end_state: str = ""
    """completed, failed or cancelled; empty if it never ended."""
    ended: Window = NEVER
    returned: Window = NEVER

    @property
    def settled_after(self) -> float:
        """From then on nothing changes any more."""
        latest = max(self.began.latest, self.ended.latest)
        return latest if self.returned.earliest == inf else max(latest, self.returned.latest)

    def options(self, start: float, end: float) -> list[Vector]:
        """Return the contributions that a read between `start` and `end` can have seen."""
        found = []
        if self.began.latest >= start:
            found.append(NOTHING)
        if self.began.earliest <= end and self.ended.latest >= start:
            found.append((-self.amount, 0, self.amount))
        if self.ended.earliest <= end and self.returned.latest >= start:
            found.append((-self.amount, 0, 0) if self.end_state == "completed" else NOTHING)
        if self.returned.earliest <= end:
            found.append(NOTHING)
        return found


Story = ChargeStory | WithdrawalStory

"""The movements of a wallet's money, and the times at which they can have happened.

A *story* is one movement that took effect. Each of its steps happened at an unknown instant within a known window: not
before the first request for it, and not after the first answer that shows it. So for a read that lasted from `start` to
`end` there are a few states in which the story can have been; their sums over all stories are the possible balances.
"""

from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from lab.chaos.checker.evidence import CLOCK_SLACK_S

Split = int
"""Withdrawable, locked and held in one number, 64 bits each: a story's contribution or a wallet's balance.
Adding two splits adds their parts, so that millions of combinations can be compared."""

_SHIFT = 64
NOTHING: Split = 0


def split(withdrawable: int, locked: int, held: int) -> Split:
    """Return the parts, each from -2^62 to 2^62, as one number."""
    return withdrawable + (locked << _SHIFT) + (held << 2 * _SHIFT)


def parts(value: Split) -> tuple[int, int, int]:
    """Return withdrawable, locked and held."""
    withdrawable, rest = _low_part(value)
    locked, held = _low_part(rest)
    return withdrawable, locked, held


def _low_part(value: int) -> tuple[int, int]:
    low = value & ((1 << _SHIFT) - 1)
    if low >> (_SHIFT - 1):
        low -= 1 << _SHIFT
    return low, (value - low) >> _SHIFT


class Window(NamedTuple):
    """A period that contains the instant, ends included."""

    earliest: float
    latest: float

    def until(self, latest: float) -> "Window":
        """Return the window after an observation that the step was done by `latest`."""
        return Window(self.earliest, min(self.latest, latest))

    def since(self, earliest: float) -> "Window":
        """Return the window after learning that the step was not before `earliest`."""
        return Window(max(self.earliest, earliest), self.latest)


NEVER = Window(inf, inf)


@dataclass(slots=True)
class Flow:
    """Money that came into a wallet (or, below zero, was taken out), withdrawable from `release` on.

    (`release` is a second of the run; None: from the beginning.)
    """

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
    clock_back: tuple[tuple[float, float], ...] = ()
    """The periods in which the database's clock was behind: the money may have been locked again then."""

    def next_step(self, after: float) -> float:
        """Return when, after this second, it can first be in another state; infinity for never."""
        if self.began.earliest > after:
            return self.began.earliest
        if self.release is None:
            return inf
        steps = [self.release - CLOCK_SLACK_S, *(since for since, _ in self.clock_back)]
        return min((at for at in steps if at > after), default=inf)

    def options(self, start: float, end: float) -> list[Split]:
        """Return the contributions that a read between `start` and `end` can have seen."""
        found = []
        if self.began.latest >= start:
            found.append(NOTHING)
        if self.began.earliest <= end:
            if self.release is None or self.release - CLOCK_SLACK_S <= end:
                found.append(self.amount)
            behind = any(start <= until and end >= since for since, until in self.clock_back)
            if self.release is not None and (self.release + CLOCK_SLACK_S >= start or behind):
                found.append(self.amount << _SHIFT)
        return found


class ChargeStory(Flow):
    """A charge."""

    __slots__ = ()


@dataclass(slots=True)
class HoldStory:
    """Money set aside, then captured, voided, or (`expires`, a second of the run) free again."""

    id: str
    key: str
    wallet: str
    amount: int
    line: int
    began: Window
    expires: float | None = None
    clock_back: tuple[tuple[float, float], ...] = ()
    captured: int = 0
    ended: Window = NEVER
    """When it was captured or voided."""

    def next_step(self, after: float) -> float:
        """Return when, after this second, it can first be in another state; infinity for never."""
        steps = [self.began.earliest, self.ended.earliest]
        if self.expires is not None:
            steps += [self.expires - CLOCK_SLACK_S, *(since for since, _ in self.clock_back)]
        return min((at for at in steps if at > after), default=inf)

    def options(self, start: float, end: float) -> list[Split]:
        """Return the contributions that a read between `start` and `end` can have seen."""
        found = []
        if self.began.latest >= start:
            found.append(NOTHING)
        if self.began.earliest <= end and self.ended.latest >= start:
            behind = any(start <= until and end >= since for since, until in self.clock_back)
            if self.expires is None or self.expires + CLOCK_SLACK_S >= start or behind:
                found.append(split(-self.amount, 0, self.amount))
            if self.expires is not None and self.expires - CLOCK_SLACK_S <= end:
                found.append(NOTHING)
        if self.ended.earliest <= end:
            found.append(-self.captured)
        return list(dict.fromkeys(found))


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

    def next_step(self, after: float) -> float:
        """Return when, after this second, it can first be in another state; infinity for never."""
        steps = (self.began.earliest, self.ended.earliest, self.returned.earliest)
        return min((at for at in steps if at > after), default=inf)

    def options(self, start: float, end: float) -> list[Split]:
        """Return the contributions that a read between `start` and `end` can have seen."""
        found = []
        if self.began.latest >= start:
            found.append(NOTHING)
        if self.began.earliest <= end and self.ended.latest >= start:
            found.append(split(-self.amount, 0, self.amount))
        if self.ended.earliest <= end and self.returned.latest >= start:
            found.append(-self.amount if self.end_state == "completed" else NOTHING)
        if self.returned.earliest <= end:
            found.append(NOTHING)
        return found


Story = ChargeStory | WithdrawalStory
MoneyStory = Flow | HoldStory | WithdrawalStory
"""Whatever changes a wallet's balances."""

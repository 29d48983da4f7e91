"""A rule of the conformance suite: a name, the needs of its trial, and the trial."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto


class Needs(Enum):
    """The permission that a trial needs."""

    NOTHING = auto()
    """It only reads."""
    PAYOUTS = auto()
    """It orders payouts."""
    SIMULATOR = auto()
    """It orders payouts at a bank that knows the simulator's test destinations."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A requirement for a bank. `trial` returns its observation, or raises Failed or NotTried."""

    name: str
    needs: Needs
    trial: Callable[[], Awaitable[str]]

"""A rule of the conformance suite: a name, what its trial needs, and the trial."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto


class Needs(Enum):
    """What a trial needs to be allowed to do."""

    NOTHING = auto()
    """It reads."""
    PAYOUTS = auto()
    """It orders payouts."""
    SIMULATOR = auto()
    """It orders payouts at a bank that knows the simulator's test destinations."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a bank must do. `trial` returns what it saw, and raises Failed or NotTried."""

    name: str
    needs: Needs
    trial: Callable[[], Awaitable[str]]

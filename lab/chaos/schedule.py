"""The plan of faults and their times: drawn from the seed alone, before the run begins.

Faults come from decks, shuffled and dealt like cards, so that every kind gets its share even in a short run: all kinds
of processes are killed once before any is killed twice.
"""

from collections.abc import Collection, Sequence
from random import Random
from typing import NamedTuple

from lab.chaos.database import TABLES
from lab.chaos.lines import NAMES
from lab.chaos.poison import POISON

FAULTS_PER_MINUTE = 26.0

KINDS = ("gateway", "relay", "actors", "reconciler", "courier", "bank_sim", "postgres", "rabbitmq")
# Another target to kill or freeze: a single server process of PostgreSQL, in the middle of its work.
TARGETS = (*KINDS, "postgres_backend")

# Shuffled as a whole, so that every sixteen faults have this mix.
ACTIONS = (
    *("kill",) * 5,
    *("freeze",) * 2,
    *("cut",) * 3,
    *("restart", "bank", "hang", "hold", "database", "poison"),
)

CUTS = ("reset", "refuse", "blackhole", "mute", "delay")
DATABASE_TROUBLES = ("read_only", "connections", "cancelled", "ended", "clock_back")
NONSENSE_LINES = tuple(name for name in NAMES if name.endswith("→bank"))
HANGS = ("gateway", "relay", "actors", "reconciler", "courier", "bank_sim")
# PostgreSQL and RabbitMQ are left out: only their own supervisor knows whether they hang.
BANK_TROUBLES = (
    *("errors", "lost_replies", "hangs", "slow", "outage", "declines", "pending", "callbacks", "everything"),
)

# RabbitMQ takes 6 to 12 s to start on a busy machine. If it were killed again before it is up, it would be away for
# most of the run, and nothing behind it would be tested.
SPARED_S = {"rabbitmq": 25.0}


class PlannedFault(NamedTuple):
    """One fault. `at_s` counts from the start of the load; `lasts_s` is its duration, if it has one."""

    at_s: float
    action: str
    """kill, freeze (for a while), hang (until somebody does something), restart, cut, bank, hold, database, poison"""
    target: str
    """kind of process, name of a line, table, or kind of trouble"""
    lasts_s: float = 0.0
    how: str = ""
    """cut: the mode. kill: `all` processes of the kind, not one of them."""
    number: int = 0
    """Seed for draws while the fault is carried out (for example which of several processes)."""


def plan(seed: int, seconds: float, per_minute: float = FAULTS_PER_MINUTE) -> list[PlannedFault]:
    """Return the faults of a run, in time order; none begins in the last two seconds. With 0 `per_minute`, none."""
    random = Random(f"faults:{seed}")
    actions = Deck(random, ACTIONS)
    decks = {
        "kill": Deck(random, TARGETS),
        "freeze": Deck(random, TARGETS),
        "restart": Deck(random, KINDS),
        "cut": Deck(random, NAMES),
        "bank": Deck(random, (*BANK_TROUBLES, *NONSENSE_LINES)),
        "hang": Deck(random, HANGS),
        "hold": Deck(random, TABLES),
        "database": Deck(random, DATABASE_TROUBLES),
        "poison": Deck(random, tuple(POISON)),
    }
    modes = Deck(random, CUTS)
    spared_until_s: dict[str, float] = {}
    faults: list[PlannedFault] = []
    at_s = 1.0 if per_minute > 0 else seconds
    while at_s < seconds - 2.0:
        action = actions.deal()
        ends = action in ("kill", "restart")
        spared = {target for target, until_s in spared_until_s.items() if ends and until_s > at_s}
        fault = PlannedFault(at_s, action, decks[action].deal(spared), number=len(faults))
        if ends:
            spared_until_s[fault.target] = at_s + SPARED_S.get(fault.target, 0.0)
        if action == "kill" and random.random() < 0.3:
            fault = fault._replace(how="all")
        elif action == "freeze":
            fault = fault._replace(lasts_s=random.choice((random.uniform(0.3, 2), random.uniform(2, 8))))
        elif action == "cut":
            fault = fault._replace(how=modes.deal(), lasts_s=random.uniform(0.5, 6))
        elif action == "bank":
            fault = fault._replace(lasts_s=random.uniform(3, 10))
        elif action in ("hold", "database"):
            fault = fault._replace(lasts_s=random.uniform(1, 6))
        faults.append(fault)
        at_s += random.uniform(0.4, 1.6) * 60 / per_minute
    return faults


def clocks_even_from(faults: Sequence[PlannedFault]) -> float:
    """Return the second of the load from which on no clock is behind, or steps back any more."""
    return max(
        (fault.at_s + fault.lasts_s + 1.0 for fault in faults if fault.target == "clock_back"), default=0.0
    )


class Deck:
    """Deals its cards in random order, and shuffles them anew when all are dealt."""

    def __init__(self, random: Random, cards: Sequence[str]) -> None:
        self._random = random
        self._cards = cards
        self._left: list[str] = []

    def deal(self, spared: Collection[str] = ()) -> str:
        """Return the next card that is not spared; spared ones stay on top for the next time."""
        found = next((card for card in self._left if card not in spared), None)
        if found is None:
            self._left += self._random.sample(self._cards, len(self._cards))
            found = next(card for card in self._left if card not in spared)
        self._left.remove(found)
        return found

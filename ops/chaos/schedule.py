"""Which fault strikes when: drawn from the seed alone, before the run begins.

Faults come from decks, shuffled and dealt like cards, so that every kind gets its share, also in a short run:
all kinds of processes are killed once before any is killed twice.
"""

from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple, TypeVar

from ops.chaos.lines import NAMES

FAULTS_PER_MINUTE = 26.0

KINDS = ("gateway", "relay", "actors", "reconciler", "bank_sim", "postgres", "rabbitmq")
# One more that can be killed or frozen: a single server process of PostgreSQL, in the middle of what it does.
TARGETS = (*KINDS, "postgres_backend")

# Shuffled as a whole, so that every dozen faults have this mix.
ACTIONS = ("kill",) * 5 + ("freeze",) * 2 + ("restart",) + ("cut",) * 3 + ("bank",)

CUTS = ("reset", "refuse", "blackhole", "mute", "delay")
BANK_TROUBLES = ("errors", "lost_replies", "hangs", "slow", "outage", "declines", "everything")

# RabbitMQ takes 6 to 12 s to start on a busy machine. Struck down again before it is up, it would be away for most
# of the run, and nothing behind it would be tested.
SPARED_S = {"rabbitmq": 25.0}

Card = TypeVar("Card")


class PlannedFault(NamedTuple):
    """One fault. `at_s` from the start of the load; what lasts, lasts `lasts_s`."""

    at_s: float
    action: str
    """kill, freeze, restart, cut, bank"""
    target: str
    """kind of process, name of a line, or kind of trouble at the bank"""
    lasts_s: float = 0.0
    how: str = ""
    """cut: the mode. kill: `all` processes of the kind, not one of them."""
    number: int = 0
    """Seeds what is drawn while it is carried out (which of several processes)."""


def plan(seed: int, seconds: float, per_minute: float = FAULTS_PER_MINUTE) -> list[PlannedFault]:
    """Return the faults of a run, in order of time; none begins in the last two seconds."""
    random = Random(f"faults:{seed}")
    actions = _deal(random, ACTIONS)
    decks: dict[str, Iterator[str]] = {
        "kill": _deal(random, TARGETS),
        "freeze": _deal(random, TARGETS),
        "restart": _deal(random, KINDS),
        "cut": _deal(random, NAMES),
        "bank": _deal(random, BANK_TROUBLES),
    }
    modes = _deal(random, CUTS)
    spared_until_s: dict[str, float] = {}
    faults: list[PlannedFault] = []
    at_s = 1.0
    while at_s < seconds - 2.0:
        action = next(actions)
        target = next(decks[action])
        if action in ("kill", "restart"):
            while spared_until_s.get(target, 0.0) > at_s:
                target = next(decks[action])
            spared_until_s[target] = at_s + SPARED_S.get(target, 0.0)
        fault = PlannedFault(at_s, action, target, number=len(faults))
        if action == "kill" and random.random() < 0.3:
            fault = fault._replace(how="all")
        elif action == "freeze":
            fault = fault._replace(lasts_s=random.choice((random.uniform(0.3, 2), random.uniform(2, 8))))
        elif action == "cut":
            fault = fault._replace(how=next(modes), lasts_s=random.uniform(0.5, 6))
        elif action == "bank":
            fault = fault._replace(lasts_s=random.uniform(3, 10))
        faults.append(fault)
        at_s += random.uniform(0.4, 1.6) * 60 / per_minute
    return faults


def _deal(random: Random, deck: Sequence[Card]) -> Iterator[Card]:
    """Deal the deck for ever, shuffled anew each time."""
    while True:
        yield from random.sample(deck, len(deck))

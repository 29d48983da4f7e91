"""Balances: every balance read was possible at that moment, and every decision about money was right.

If few stories are in motion, the read is compared with every combination of their states; if there are too many
combinations, it is compared with the bounds of each part and of each sum of parts.
"""

import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf
from typing import Any, NamedTuple

from lab.chaos.checker.evidence import CLOCK_SLACK_S, Cell, Read, Send, Times
from lab.chaos.checker.findings import Findings
from lab.chaos.checker.stories import (
    NOTHING,
    Flow,
    HoldStory,
    MoneyStory,
    Split,
    WithdrawalStory,
    parts,
    split,
)

STATES_MAX = 2048
"""Number of combinations compared one by one; with more, the bounds are compared."""

ARCHIVE_SLACK_S = 0.001
"""Uncertainty of the instants of archives."""

Weights = tuple[int, int, int]
PARTS: dict[str, Weights] = {
    "withdrawable": (1, 0, 0),
    "locked": (0, 1, 0),
    "held": (0, 0, 1),
    "withdrawable + locked": (1, 1, 0),
    "withdrawable + held": (1, 0, 1),
    "locked + held": (0, 1, 1),
    "total": (1, 1, 1),
}
WITHDRAWABLE = PARTS["withdrawable"]


class Look(NamedTuple):
    """A moment at which a wallet's balance mattered: it was read, or a withdrawal was decided."""

    start: float
    end: float
    judge: Callable[["Possible"], None]


@dataclass(slots=True)
class Possible:
    """The possible balances between `start` and `end`: the certain part, and the states of stories in motion."""

    certain: Split
    moving: list[tuple[str, list[Split]]] = field(default_factory=list)

    def states(self) -> set[Split] | None:
        """Return all possible balances, or None if there are too many."""
        states = {self.certain}
        for _, options in self.moving:
            states = {state + option for state in states for option in options}
            if len(states) > STATES_MAX:
                return None
        return states

    def bounds(self, weights: Weights, without: str = "") -> tuple[int, int]:
        """Return the least and the greatest value of a sum of parts, without the story `without` if given."""
        low = high = _weigh(self.certain, weights)
        for id, options in self.moving:
            if id != without:
                values = [_weigh(option, weights) for option in options]
                low += min(values)
                high += max(values)
        return low, high


def check_balances(cell: Cell, stories: Iterable[MoneyStory], times: Times, findings: Findings) -> None:
    """Check every balance read in this cell, and all that was accepted, or refused for lack of money."""
    looks: dict[str, list[Look]] = {}
    for read in cell.reads["balance"]:
        if read.call.status == 200 and _consistent(read, findings):
            _add(looks, read.call.wallet, read.call.start, read.call.end, _read_judge(read, findings))
    whole_from = max((one.before for one in cell.archived.values()), default=-inf)
    lost = {one.wallet for one in cell.archived.values()}
    for read in cell.reads["balance_at"]:
        call, at = read.call, times.of(read.call.subject)
        gone = call.wallet in lost and at < whole_from - ARCHIVE_SLACK_S
        if call.status in (200, 410) and (call.status == 410) != gone:
            expected = "410, since part of it is archived" if gone else "a balance: the books are whole"
            findings.add("history_differs", call.wallet, expected, str(call.status), read.line)
        if call.status == 200 and at >= whole_from - ARCHIVE_SLACK_S and _consistent(read, findings):
            judge = _read_judge(read, findings)
            _add(looks, call.wallet, at - CLOCK_SLACK_S, at + CLOCK_SLACK_S, judge)
    for sends in cell.sends.values():
        for send in sends:
            if send.code == "insufficient_funds" and send.asked.user:
                judge = _refusal_judge(send, findings)
                _add(looks, send.asked.wallet, send.call.start, send.call.end, judge)
    by_wallet: dict[str, list[MoneyStory]] = {}
    for story in stories:
        by_wallet.setdefault(story.wallet, []).append(story)
        if _takes(story):
            _add(looks, story.wallet, *story.began, _acceptance_judge(story, findings))
    for wallet, moments in looks.items():
        _sweep(moments, by_wallet.get(wallet, []))
        findings.checked["balances"] += len(moments)


def _takes(story: MoneyStory) -> bool:
    """Return whether the story needs money that is withdrawable."""
    if isinstance(story, Flow):
        return story.amount < 0 and story.release is None
    return isinstance(story, WithdrawalStory | HoldStory)


def _add(
    looks: dict[str, list[Look]], wallet: str, start: float, end: float, judge: Callable[[Possible], None]
) -> None:
    looks.setdefault(wallet, []).append(Look(start, end, judge))


def _consistent(read: Read, findings: Findings) -> bool:
    """Check that a balance is well formed, never negative, and that its parts make up the total."""
    answer: dict[str, Any] = read.answer
    amounts = (answer["withdrawable"], answer["locked"], answer["held"])
    if min(amounts) < 0:
        findings.add("negative_balance", read.call.wallet, "nothing below zero", str(answer), read.line)
    if sum(amounts) != answer["total"]:
        expected = "total = withdrawable + locked + held"
        findings.add("balance_does_not_add_up", read.call.wallet, expected, str(answer), read.line)
    if f"{answer['user_id']} {answer['currency']}" != read.call.wallet:
        findings.add("wrong_wallet", read.call.wallet, read.call.wallet, str(answer), read.line)
        return False
    return True


def _sweep(looks: list[Look], stories: Iterable[MoneyStory]) -> None:
    """Judge every look, in time order. A story is examined only while it can be in motion."""
    order = itertools.count()
    asleep = [(story.began.earliest, next(order), story, NOTHING) for story in stories]
    heapq.heapify(asleep)
    active: list[MoneyStory] = []
    resting = NOTHING
    """The sum of the stories at rest: each is certainly in one state until its next step."""
    for look in sorted(looks, key=lambda look: look.start):
        while asleep and asleep[0][0] <= look.end:
            _, _, story, contribution = heapq.heappop(asleep)
            resting -= contribution
            active.append(story)
        possible = Possible(resting)
        still_active = []
        for story in active:
            options = story.options(look.start, look.end) or [NOTHING]
            if len(options) > 1:
                possible.moving.append((story.id, options))
                still_active.append(story)
                continue
            possible.certain += options[0]
            resting += options[0]
            wakes_at = story.next_step(look.end)
            if wakes_at < inf:
                heapq.heappush(asleep, (wakes_at, next(order), story, options[0]))
        active = still_active
        look.judge(possible)


def _read_judge(read: Read, findings: Findings) -> Callable[[Possible], None]:
    def judge(possible: Possible) -> None:
        answer = read.answer
        found = split(answer["withdrawable"], answer["locked"], answer["held"])
        states = possible.states()
        if states is not None:
            if found not in states:
                some = sorted(parts(state) for state in states)[:5]
                expected = f"one of {len(states)} (withdrawable, locked, held): {some}"
                findings.add("impossible_balance", read.call.wallet, expected, str(answer), read.line)
            return
        findings.checked["balances_by_bounds"] += 1
        for name, weights in PARTS.items():
            low, high = possible.bounds(weights)
            if not low <= _weigh(found, weights) <= high:
                expected = f"{name} between {low} and {high}"
                findings.add("impossible_balance", read.call.wallet, expected, str(answer), read.line)
                return

    return judge


def _refusal_judge(send: Send, findings: Findings) -> Callable[[Possible], None]:
    def judge(possible: Possible) -> None:
        low, _ = possible.bounds(WITHDRAWABLE)
        if low >= send.asked.amount:
            expected = f"accepted: at least {low} was withdrawable"
            found = f"{send.asked.amount} refused, insufficient_funds"
            findings.add("wrongly_refused", f"key {send.call.key}", expected, found, send.line)

    return judge


def _acceptance_judge(story: MoneyStory, findings: Findings) -> Callable[[Possible], None]:
    def judge(possible: Possible) -> None:
        _, high = possible.bounds(WITHDRAWABLE, without=story.id)
        if high < abs(story.amount):
            expected = f"refused: at most {high} was withdrawable"
            found = f"{abs(story.amount)} accepted"
            findings.add("overdrawn", f"key {story.key}", expected, found, story.line)

    return judge


@lru_cache(maxsize=1 << 16)  # the same contributions are weighed again for every look
def _weigh(value: Split, weights: Weights) -> int:
    withdrawable, locked, held = parts(value)
    return withdrawable * weights[0] + locked * weights[1] + held * weights[2]

"""Withdrawals: each ends in time, by legal transitions, never goes back, and agrees with the bank's books."""

from collections import defaultdict
from datetime import datetime
from math import inf
from typing import Any, NamedTuple

from lab.chaos.checker.evidence import CLOCK_SLACK_S, BankLine, Cell, Read, Times, canonical
from lab.chaos.checker.findings import Findings
from lab.chaos.checker.stories import Story, Window, WithdrawalStory

END_WITHIN_S = 60.0

ENDED = frozenset({"completed", "failed", "cancelled", "returned"})
UNDERWAY = frozenset({"processing", "requires_attention"})
# The contract's diagram, written down a second time: this module shares no code with the service.
MOVES = {
    "": {"pending"},
    "pending": {"cancelled", "processing"},
    "processing": {"completed", "failed", "requires_attention"},
    "requires_attention": {"processing", "completed", "failed"},
    "completed": {"returned"},
    "failed": set(),
    "cancelled": set(),
    "returned": set(),
}


class Sight(NamedTuple):
    """A withdrawal's state, read between `start` and `end`."""

    status: str
    start: float
    end: float
    line: int
    phase: str
    history: list[tuple[str, str, str]] | None = None
    bank_reference: str | None = None
    reference: str = ""
    """Its reference at the bank."""


def check_withdrawals(
    cell: Cell, stories: dict[str, Story], bank: dict[str, list[BankLine]], times: Times, findings: Findings
) -> None:
    """Check every withdrawal of the cell, and add its end state and time to its story.

    Lines of the bank's books that belong to one of them are removed from `bank`.
    """
    sights: dict[str, list[Sight]] = defaultdict(list)
    by_key = {story.key: story for story in stories.values()}
    for op in ("withdrawal", "by_key", "cancel"):
        for read in cell.reads[op]:
            story = by_key.get(read.call.key) if op == "by_key" else stories.get(read.call.subject)
            _look(read, story, sights, findings)
    for read in cell.reads["transactions"]:
        if read.call.status == 200:
            call = read.call
            for item in read.answer["transactions"]:
                if item["type"] == "withdrawal":
                    sight = Sight(item["status"], call.start, call.end, read.line, call.phase)
                    sights[item["id"]].append(sight)
    cancels: dict[str, list[Read]] = defaultdict(list)
    for read in cell.reads["cancel"]:
        cancels[read.call.subject].append(read)
    declined = {read.call.subject for read in cell.reads["find"] if _declined(read)}
    for id, story in stories.items():
        if isinstance(story, WithdrawalStory):
            findings.checked["withdrawals"] += 1
            archived = id in cell.archived
            seen = _completed(sights[id]) if archived else sights[id]
            final = _check_one(story, seen, times, findings, archived=archived)
            if final is not None:
                _check_cancels(story, final, cancels.get(id, []), findings)
                _check_bank(story, final, bank.pop(final.reference, []), id in declined, findings)


def _look(read: Read, story: Story | None, sights: dict[str, list[Sight]], findings: Findings) -> None:
    call, answer = read.call, read.answer
    asked_for = call.subject or f"key {call.key}"
    withdrawal = isinstance(story, WithdrawalStory)
    if call.status == 404 and withdrawal and story is not None and story.began.latest < call.start:
        findings.add("withdrawal_lost", asked_for, "accepted, so it is there", "404", story.line, read.line)
    if call.status != 200:
        return
    id = answer["withdrawal_id"]
    if story is None or not withdrawal or id != story.id:
        expected = "404" if story is None or not withdrawal else story.id
        findings.add("wrong_withdrawal", asked_for, expected, id, read.line)
        return
    told = (answer["amount"], answer["currency"], str(answer["user_id"]), answer["created_at"])
    user, currency = story.wallet.split(" ")
    if told != (story.amount, currency, user, story.created_at):
        found = canonical([str(part) for part in told])
        expected = f"{story.amount} of {story.wallet}, {story.created_at}"
        findings.add("withdrawal_differs", id, expected, found, read.line)
    history = [(entry["status"], entry["at"], entry["reason"]) for entry in answer["history"]]
    basis = (answer["status"], call.start, call.end, read.line, call.phase)
    sights[id].append(Sight(*basis, history, answer["bank_reference"], answer["reference"]))


def _completed(sights: list[Sight]) -> list[Sight]:
    """Return sights of an archived withdrawal, each with the moves that its history has lost, as others show them."""
    places: dict[tuple[str, str, str], int] = defaultdict(int)
    for sight in sights:
        for place, entry in enumerate(sight.history or ()):
            places[entry] = max(places[entry], place)
    whole = sorted(places, key=lambda entry: (datetime.fromisoformat(entry[1]), places[entry]))
    found = []
    for sight in sights:
        history = sight.history
        if history:
            history = whole[: whole.index(history[-1]) + 1]
        found.append(sight._replace(history=history))
    return found


def _declined(read: Read) -> bool:
    return read.call.status == 200 and read.answer["status"] == "declined"


def _check_one(
    story: WithdrawalStory, sights: list[Sight], times: Times, findings: Findings, *, archived: bool
) -> Sight | None:
    """Check all sights of a withdrawal; return the last one, if there is one."""
    finals = [sight for sight in sights if sight.phase == "final" and sight.history is not None]
    if not finals:
        findings.add("withdrawal_lost", story.id, "its final state", "none was read", story.line)
        return None
    final = finals[-1]
    _check_path(story, final, sights, times, findings, archived=archived)
    story.began = story.began.until(min((sight.end for sight in sights), default=inf))
    ended_at = _windows(story, final, sights, times)
    if story.ended.earliest > story.ended.latest or story.returned.earliest > story.returned.latest:
        lines = [sight.line for sight in sorted(sights)][:6]
        found = "seen open after it was seen ended"
        findings.add("went_back", story.id, "an end state is for ever", found, *lines)
    if final.status not in ENDED:
        expected = f"an end state within {END_WITHIN_S:.0f} s after healing"
        findings.add("never_ended", story.id, expected, final.status, story.line, final.line)
    else:
        findings.checked["ended_before_healing"] += min(ended_at, story.ended.latest) < times.healed
        deadline = max(times.healed, story.began.latest) + END_WITHIN_S
        if min(ended_at, story.ended.latest) > deadline:
            found = f"at {ended_at:.1f} s"
            findings.add("ended_too_late", story.id, f"before second {deadline:.1f}", found, final.line)
    return final


def _check_path(
    story: WithdrawalStory,
    final: Sight,
    sights: list[Sight],
    times: Times,
    findings: Findings,
    *,
    archived: bool,
) -> None:
    """Check that the history is a legal path in time order, that it only grew, and that it has every state seen."""
    history = final.history or []
    path = [status for status, _, _ in history]
    for source, target in zip(["", *path], path, strict=False):
        left_out = archived and source == "pending" and target in MOVES["processing"]
        if target not in MOVES.get(source, ()) and not left_out:
            findings.add("illegal_move", story.id, f"a legal move from {source!r}", target, final.line)
    moments = [times.of(at) for _, at, _ in history]
    if moments != sorted(moments):
        findings.add("history_out_of_order", story.id, "ascending times", str(history)[:300], final.line)
    if not path or path[-1] != final.status:
        findings.add("status_differs_from_history", story.id, final.status, str(path), final.line)
    for sight in sights:
        if sight.history is not None and sight.history != history[: len(sight.history)]:
            found = str(sight.history)[:300]
            findings.add("history_rewritten", story.id, f"a beginning of {history}"[:300], found, sight.line)
        elif sight.status not in path and not (archived and sight.status in UNDERWAY):
            findings.add("state_not_in_history", story.id, str(path), sight.status, sight.line)


def _windows(story: WithdrawalStory, final: Sight, sights: list[Sight], times: Times) -> float:
    """Set the times at which the withdrawal can have ended and been returned; return the end time that it states."""
    moments = {status: times.of(at) for status, at, _ in final.history or []}
    ended_at = inf
    for state in ("completed", "failed", "cancelled"):
        if state in moments:
            story.end_state, ended_at = state, moments[state]
            story.ended = Window(max(story.began.earliest, ended_at - CLOCK_SLACK_S), inf)
    if "returned" in moments:
        story.returned = Window(max(story.ended.earliest, moments["returned"] - CLOCK_SLACK_S), inf)
    for sight in sights:
        if story.end_state:
            seen_ended = sight.status in ENDED
            story.ended = story.ended.until(sight.end) if seen_ended else story.ended.since(sight.start)
        if "returned" in moments:
            back, seen_returned = story.returned, sight.status == "returned"
            story.returned = back.until(sight.end) if seen_returned else back.since(sight.start)
    return ended_at


def _check_cancels(story: WithdrawalStory, final: Sight, cancels: list[Read], findings: Findings) -> None:
    """Check that it was cancelled only on request, and that the answers to the requests agree with its end."""
    for cancel in cancels:
        lines = (cancel.line, final.line)
        if cancel.call.status == 200 and final.status != "cancelled":
            findings.add("cancel_undone", story.id, "cancelled for ever", final.status, *lines)
        if cancel.call.status == 409 and final.status == "cancelled":
            findings.add("cancelled_after_409", story.id, "never cancelled", "cancelled", *lines)
    if final.status == "cancelled" and not cancels:
        findings.add("cancelled_unasked", story.id, "nobody asked for it", "cancelled", final.line)


def _check_bank(
    story: WithdrawalStory, final: Sight, payouts: list[BankLine], declined: bool, findings: Findings
) -> None:
    """Check that it is paid at the bank, once and with the same amount, exactly if it is completed here, and declined
    there exactly if it failed here."""
    lines = [final.line, *(payout.line for payout in payouts)]
    if len(payouts) > 1:
        findings.add("paid_twice", story.id, "one payout", f"{len(payouts)}", *lines)
    paid = final.status in ("completed", "returned")
    for _, payout in payouts:
        if (payout.amount, payout.currency) != (story.amount, story.wallet.split(" ")[1]):
            found = f"{payout.amount} {payout.currency}"
            findings.add("paid_other_amount", story.id, f"{story.amount} of {story.wallet}", found, *lines)
        if final.status in ("failed", "cancelled"):
            found = payout.payout_id
            findings.add("refunded_although_paid", story.id, "no payout at the bank", found, *lines)
        if paid and (payout.status == "returned") != (final.status == "returned"):
            findings.add("return_differs", story.id, f"{payout.status}, as at the bank", final.status, *lines)
        if paid and payout.payout_id != final.bank_reference:
            findings.add("other_payout", story.id, payout.payout_id, str(final.bank_reference), *lines)
    if paid and not payouts:
        findings.add("completed_but_not_paid", story.id, "a payout at the bank", "none", *lines)
    if final.status == "failed" and not declined:
        findings.add("refunded_undeclined", story.id, "declined by the bank", "it did not say so", *lines)


def check_strangers(bank: dict[str, list[BankLine]], findings: Findings) -> None:
    """Report the remaining lines of the bank's books, which belong to no withdrawal of ours."""
    for reference, payouts in bank.items():
        found: Any = [(line.payout.amount, line.payout.status) for line in payouts]
        lines = [line.line for line in payouts]
        findings.add("paid_unknown", reference, "a withdrawal that was asked for", str(found), *lines)

"""The sequence of events, as each of its consumers was told it: without gaps, once, in order, and the same for all.

A receiver of webhooks is told at least once, and each next event only after it has taken the one before, or has refused
it again and again; that one comes later by itself.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

from lab.chaos.checker.evidence import parse
from lab.chaos.checker.findings import Findings
from lab.chaos.history import Call, Told, ToldTo

TYPES = frozenset(
    {
        *(f"charge.{what}" for what in ("completed", "released", "reversed")),
        *(f"transfer.{what}" for what in ("completed", "released", "reversed")),
        *(f"hold.{what}" for what in ("opened", "captured", "voided", "expired")),
        *(f"withdrawal.{status}" for status in ("pending", "processing", "completed", "failed", "cancelled")),
        "withdrawal.requires_attention",
        "withdrawal.returned",
        "adjustment.completed",
    }
)


AT_LEAST_ONCE = frozenset({"webhook"})
"""Consumers that may be told an event again, in the same bytes. What counts is the order in which they first are."""
REFUSED_TIMES = 3
"""An event that was refused so often may come later than others."""
NO_ANSWER = (429, 502, 503, 504)
"""What says nothing about the event: it has to come again before any other."""


class Place(NamedTuple):
    """Where one event stands: in the sequence, and in the history."""

    epoch: str
    seq: int
    line: int
    offset: int


@dataclass(slots=True)
class _Consumer:
    last: tuple[str, int] = ("", 0)
    epochs: list[str] = field(default_factory=list)
    digests: dict[tuple[str, int], tuple[bytes, int]] = field(default_factory=dict)
    """Of each event's bytes, with the line of its first arrival."""
    taken: set[tuple[str, int]] = field(default_factory=set)
    refusals: Counter[tuple[str, int]] = field(default_factory=Counter)

    def lets_others_pass(self, place: tuple[str, int]) -> bool:
        """Tell whether other events may be told after this one."""
        return place in self.taken or self.refusals[place] >= REFUSED_TIMES

    def answer(self, place: tuple[str, int], status: int) -> None:
        """Take in what was answered to an event."""
        if status // 100 == 2:
            self.taken.add(place)
        elif status not in NO_ANSWER:
            self.refusals[place] += 1


class SequenceWitness:
    """Takes what the consumers were told, line by line, and compares them at the end."""

    def __init__(self) -> None:
        self._consumers: dict[str, _Consumer] = defaultdict(_Consumer)
        self._ends: list[ToldTo] = []
        self.by_user: dict[str, list[Place]] = defaultdict(list)
        """The events of the first consumer that told anything, by the first of their users."""
        self._first = ""
        self._refused: list[int] = []

    def take(self, line: int, offset: int, told: Told, findings: Findings) -> None:
        """Take in an event that a consumer was told."""
        findings.checked["events"] += 1
        event = parse(told.body)
        if not _well_formed(event) or told.number not in ("", str(event["seq"])):
            found = f"{told.number} {told.body[:300]}"
            findings.add("malformed_event", told.consumer, "an event with its number", found, line)
            return
        consumer = self._consumers[told.consumer]
        epoch, seq = event["epoch"], event["seq"]
        digest = blake2b(told.body.encode(), digest_size=12).digest()
        known = consumer.digests.get((epoch, seq))
        previous = consumer.last
        consumer.answer((epoch, seq), told.answered)
        if known is not None:
            rule = "event_doubled" if known[0] == digest else "event_changed"
            if rule == "event_doubled" and told.consumer in AT_LEAST_ONCE:
                findings.checked["told_again"] += 1
                return
            findings.add(rule, f"{told.consumer}, event {seq}", "told once", "told again", known[1], line)
            return
        consumer.digests[epoch, seq] = (digest, line)
        last_epoch, last_seq = previous
        if epoch != last_epoch:
            consumer.epochs.append(epoch)
        elif seq != last_seq + 1:
            rule = "event_gap" if seq > last_seq else "event_out_of_order"
            findings.add(rule, told.consumer, f"number {last_seq + 1}", f"number {seq}", line)
        elif last_seq and not consumer.lets_others_pass(previous):
            expected = f"{last_seq} taken, or refused {REFUSED_TIMES} times"
            findings.add("event_overtaken", told.consumer, expected, f"number {seq}", line)
        consumer.last = (epoch, seq)
        self._first = self._first or told.consumer
        if told.consumer == self._first:
            for user in {str(user) for user in event["user_ids"]}:
                self.by_user[user].append(Place(epoch, seq, line, offset))

    def refused(self, line: int, call: Call) -> None:
        """Take in a call that was perhaps told that its position is not there any more."""
        if call.op in ("events", "event_stream") and call.status == 410:
            self._refused.append(line)

    def end(self, told_to: ToldTo) -> None:
        """Take in up to where the consumers must have been told."""
        self._ends.append(told_to)

    def check(self, consumers: tuple[str, ...], restores: int, findings: Findings) -> None:
        """Compare the consumers. `restores` is how often another epoch may have begun."""
        if self._refused and not restores:
            findings.add("position_gone", "events", "where it was told to", "410", *self._refused)
        if consumers and not self._ends:
            findings.add("incomplete", "the history", f"{', '.join(consumers)}, to the end", "no end")
        for name in consumers:
            consumer = self._consumers[name]
            for end in self._ends:
                if consumer.last[1] < end.number:
                    expected, found = f"told up to {end.number}", f"{consumer.last[1]} was the last"
                    findings.add("event_missing", name, expected, found)
            missed = [place for place in consumer.digests if place not in consumer.taken]
            for place in missed:
                if place[0] == consumer.last[0]:
                    line = consumer.digests[place][1]
                    findings.add(
                        "event_missing", name, f"event {place[1]}, until it is taken", "never was", line
                    )
            if len(consumer.epochs) > 1 + restores:
                expected = f"{1 + restores} epochs"
                findings.add("epoch_changed", name, expected, f"{len(consumer.epochs)}: {consumer.epochs}")
        for name in consumers[1:]:
            _compare(consumers[0], self._consumers[consumers[0]], name, self._consumers[name], findings)


def _well_formed(event: Any) -> bool:
    return (
        isinstance(event, dict)
        and event.get("type") in TYPES
        and isinstance(event.get("seq"), int)
        and isinstance(event.get("epoch"), str)
        and isinstance(event.get("object"), dict)
        and isinstance(event.get("user_ids"), list)
        and bool(event["user_ids"])
        and bool(event.get("id"))
    )


def _compare(first: str, one: _Consumer, second: str, other: _Consumer, findings: Findings) -> None:
    """Find what two consumers were told differently. Gaps were found before: what is left is where they begin."""
    for place, (digest, line) in other.digests.items():
        known = one.digests.get(place)
        if known is not None and known[0] != digest:
            expected = f"the same bytes for {first} and {second}"
            findings.add("event_differs", f"event {place[1]}", expected, "others", known[1], line)
    if one.epochs != other.epochs:
        findings.add("epoch_differs", second, f"{one.epochs}, as {first}", str(other.epochs))
    begins = [next(iter(consumer.digests), None) for consumer in (one, other)]
    if begins[0] != begins[1]:
        findings.add("event_missing", second, f"told from {begins[0]} on, as {first}", f"from {begins[1]} on")

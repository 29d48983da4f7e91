"""Transfers, holds and reversals: each hold ends once, nothing is reversed beyond what there was, and the money that
moves in every wallet is worked out for the balances."""

from collections import defaultdict
from math import inf
from typing import Any

from lab.chaos.checker.deeds import Deed, expires
from lab.chaos.checker.evidence import CLOCK_SLACK_S, REFUSALS, Cell, Read, Times
from lab.chaos.checker.findings import Findings
from lab.chaos.checker.stories import ChargeStory, Flow, HoldStory, MoneyStory, Story, Window
from lab.chaos.history import Call

Legs = list[tuple[str, int, float | None]]
"""Payee, amount, and the second of the run until which it is locked."""


def check_transfers(
    cell: Cell, deeds: dict[str, Deed], stories: dict[str, Story], times: Times, findings: Findings
) -> list[MoneyStory]:
    """Check the deeds of the cell; return what they move in the wallets."""
    judge = _Judge(cell, deeds, stories, times, findings)
    for deed in deeds.values():
        findings.checked["deeds"] += 1
        if deed.op == "hold":
            judge.hold(deed)
        elif deed.op == "transfer":
            judge.transfer(deed)
    for deed in deeds.values():
        if deed.op == "capture":
            judge.capture(deed)
    judge.ends()
    judge.reversals()
    judge.refusals()
    judge.last_looks()
    return [*judge.flows, *judge.holds.values()]


class _Judge:
    def __init__(
        self,
        cell: Cell,
        deeds: dict[str, Deed],
        stories: dict[str, Story],
        times: Times,
        findings: Findings,
    ) -> None:
        self._cell, self._deeds, self._times, self._findings = cell, deeds, times, findings
        self._charges = {id: story for id, story in stories.items() if isinstance(story, ChargeStory)}
        self.flows: list[Flow] = []
        self.holds: dict[str, HoldStory] = {}
        self._captures: dict[str, list[Deed]] = defaultdict(list)
        self._legs: dict[str, Legs] = {}
        """Of every transfer, those that captures made included."""
        self._payers: dict[str, str] = {}
        """The wallet that each transfer has taken money from."""
        self._reversed: dict[str, int] = defaultdict(int)

    # --- what moves --------------------------------------------------------------------------------------

    def hold(self, deed: Deed) -> None:
        """Take a hold."""
        wallet, amount, at = deed.asked.wallet, deed.asked.amount, expires(deed.answer, self._times)
        story = HoldStory(
            deed.id, deed.key, wallet, amount, deed.line, deed.began, at, self._times.clock_back
        )
        self.holds[deed.id] = story

    def transfer(self, deed: Deed) -> None:
        """Take a transfer."""
        self._move(deed, deed.asked.wallet, deed.id, -deed.asked.amount)
        self._pay(deed, deed.asked.wallet)

    def capture(self, deed: Deed) -> None:
        """Take the capture of a hold."""
        self._captures[deed.asked.subject].append(deed)
        hold = self.holds.get(deed.asked.subject)
        if hold is None:
            self._add("capture_of_nothing", deed, "a hold", "none was placed")
            return
        if deed.answer["captured"] > hold.amount:
            self._add("captured_too_much", deed, f"at most {hold.amount}", str(deed.answer["captured"]))
        hold.captured, hold.ended = deed.answer["captured"], deed.began
        self._pay(deed, hold.wallet)

    def _pay(self, deed: Deed, payer: str) -> None:
        """Take what the payees got."""
        asked, currency = deed.asked, payer.split(" ")[1]
        legs = asked.legs or ((asked.destination, deed.answer["captured"], asked.release_at),)
        found: Legs = []
        for number, (user, amount, at) in enumerate(legs, 1):
            until = None if at is None else self._times.of(at)
            found.append((user, amount, until))
            self._move(deed, f"{user} {currency}", f"{deed.id}/{number}", amount, until)
        self._legs[deed.id], self._payers[deed.id] = found, payer

    def _move(self, deed: Deed, wallet: str, id: str, amount: int, until: float | None = None) -> None:
        basis = (id, deed.key, wallet, amount, deed.line, deed.began, "", inf)
        self.flows.append(Flow(*basis, until, self._times.clock_back))

    # --- holds -------------------------------------------------------------------------------------------

    def ends(self) -> None:
        """Check that each hold has ended at most once, as its last state says, and when."""
        voids: dict[str, list[Read]] = defaultdict(list)
        sights: dict[str, list[Read]] = defaultdict(list)
        for read in self._cell.reads["void"]:
            if read.call.status == 404 and not self._cell.archived_by(read.call.subject, read.call.end):
                self._findings.add("hold_lost", f"hold {read.call.subject}", "a hold", "404", read.line)
            if read.call.status not in REFUSALS:  # it took effect, or may have
                voids[read.call.subject].append(read)
        for read in self._cell.reads["hold_now"]:
            sights[read.call.subject].append(read)
        for id, hold in self.holds.items():
            self._end(hold, self._captures[id], voids[id], sights[id])

    def _end(self, hold: HoldStory, captures: list[Deed], voids: list[Read], sights: list[Read]) -> None:
        voided = [read for read in voids if read.call.status == 200]
        lines = [hold.line, *(deed.line for deed in captures), *(read.line for read in voided)]
        if len(captures) + bool(voided) > 1:
            found = f"{len(captures)} captures, {len(voided)} voids"
            self._findings.add("ended_twice", f"hold {hold.id}", "one end", found, *lines)
        finals = [read for read in sights if read.call.phase == "final" and read.call.status == 200]
        archived = self._cell.archived.get(hold.id)
        if archived is not None:
            answer = {"status": archived.status, "captured": archived.captured}
            finals.append(Read(hold.line, Call("hold_now", inf, inf, "final"), answer))
        if not finals:
            self._findings.add("hold_lost", f"hold {hold.id}", "its final state", "none was read", hold.line)
            return
        final = finals[-1].answer
        if final["status"] == "voided" and voids:
            started = min(read.call.start for read in voids)
            hold.ended = Window(started, min((read.call.end for read in voided), default=inf))
        for read in sights:
            self._sight(hold, read)
        if hold.ended.earliest > hold.ended.latest:
            found = "seen open after it was seen ended"
            self._findings.add("went_back", f"hold {hold.id}", "an end is for ever", found, *lines)
        expected = self._expected_end(hold, captures, voids, voided)
        if (final["status"], final["captured"]) not in expected:
            found = f"{final['status']}, {final['captured']} captured"
            self._findings.add("wrong_end", f"hold {hold.id}", str(expected), found, *lines, finals[-1].line)

    def _expected_end(
        self, hold: HoldStory, captures: list[Deed], voids: list[Read], voided: list[Read]
    ) -> list[tuple[str, int]]:
        if captures:
            return [("captured", captures[0].answer["captured"])]
        if voided:
            return [("voided", 0)]
        free = hold.expires is not None and hold.expires - CLOCK_SLACK_S <= self._times.end
        expected = [("voided", 0)] if voids else []
        if free:
            expected.append(("expired", 0))
        if hold.expires is None or hold.expires + CLOCK_SLACK_S >= self._times.healed:
            expected.append(("open", 0))
        return expected

    def _sight(self, hold: HoldStory, read: Read) -> None:
        """Take what a read of a hold says: of its state at that time, and of what never changes."""
        call, answer = read.call, read.answer
        archived = self._cell.archived_by(hold.id, call.end)
        if call.status == 404 and hold.began.latest < call.start and not archived:
            self._findings.add("hold_lost", f"hold {hold.id}", "a hold", "404", hold.line, read.line)
        if call.status != 200:
            return
        told = (answer["id"], f"{answer['user_id']} {answer['currency']}", answer["amount"])
        if told != (hold.id, hold.wallet, hold.amount):
            self._findings.add("hold_differs", f"hold {hold.id}", str(hold), str(told), hold.line, read.line)
        hold.began = hold.began.until(call.end)
        if answer["status"] in ("captured", "voided"):
            hold.ended = hold.ended.until(call.end)
        elif answer["status"] == "open":
            hold.ended = hold.ended.since(call.start)
        early = hold.expires is None or hold.expires - CLOCK_SLACK_S > call.end
        late = hold.expires is not None and hold.expires + CLOCK_SLACK_S < call.start
        behind = self._times.clock_was_back(call.start, call.end)
        if (answer["status"] == "expired" and early) or (answer["status"] == "open" and late and not behind):
            expected = f"expired from second {hold.expires}"
            self._findings.add("wrong_expiry", f"hold {hold.id}", expected, answer["status"], read.line)

    # --- reversals ---------------------------------------------------------------------------------------

    def reversals(self) -> None:
        """Work out what each reversal takes from whom, and that it is never more than there was."""
        by_subject: dict[str, list[Deed]] = defaultdict(list)
        for deed in self._deeds.values():
            if deed.op in ("reverse_charge", "reverse_transfer"):
                by_subject[deed.asked.subject].append(deed)
        for subject, deeds in by_subject.items():
            self._reversed[subject] = sum(deed.answer["amount"] for deed in deeds)
            charge = self._charges.get(subject)
            if charge is not None:
                for deed in deeds:
                    self._move(deed, charge.wallet, deed.id, -deed.answer["amount"], charge.release)
                self._check_sum(f"charge {subject}", charge.amount, deeds)
            elif subject in self._legs:
                self._reverse_legs(subject, deeds)
            else:
                self._add("reversal_of_nothing", deeds[0], "a charge or a transfer", subject)

    def _reverse_legs(self, subject: str, deeds: list[Deed]) -> None:
        legs, payer = self._legs[subject], self._payers[subject]
        explicit = {deed.id: _explicit(deed, len(legs)) for deed in deeds}
        for number, (user, amount, until) in enumerate(legs, 1):
            parts = {id: taken.get(number, 0) for id, taken in explicit.items() if taken is not None}
            rest = amount - sum(parts.values())
            for deed in deeds:
                taken = parts.get(deed.id, rest)
                if taken > 0:
                    wallet = f"{user} {payer.split(' ')[1]}"
                    self._move(deed, wallet, f"{deed.id}/{number}", -taken, until)
            if rest < 0:
                found = str(sum(parts.values()))
                self._add("reversed_too_much", deeds[0], f"at most {amount} of leg {number}", found)
        for deed in deeds:
            self._move(deed, payer, deed.id, deed.answer["amount"])
        self._check_sum(f"transfer {subject}", sum(amount for _, amount, _ in legs), deeds)

    def _check_sum(self, subject: str, amount: int, deeds: list[Deed]) -> None:
        total = sum(deed.answer["amount"] for deed in deeds)
        rests = [deed for deed in deeds if not deed.asked.amount]
        lines = [deed.line for deed in deeds]
        if total > amount:
            self._findings.add("reversed_too_much", subject, f"at most {amount}", str(total), *lines)
        elif rests and total != amount:
            self._findings.add("rest_not_reversed", subject, f"all of {amount}", str(total), *lines)

    # --- refusals and last looks -------------------------------------------------------------------------

    def refusals(self) -> None:
        """Check the reasons of refusals that depend on a hold, or on what was reversed before."""
        for sends in self._cell.sends.values():
            for send in sends:
                asked, call = send.asked, send.call
                hold = self.holds.get(asked.subject)
                if send.code == "capture_exceeds_hold" and hold and 0 < asked.amount <= hold.amount:
                    self._wrongly(send.line, call.key, f"{hold.amount} were held", send.code)
                elif send.code == "hold_not_open" and hold and not self._may_have_ended(hold, call.end):
                    self._wrongly(send.line, call.key, "it was open", send.code)
                elif send.code == "exceeds_original" and asked.amount:
                    left = self._amount_of(asked.subject) - self._reversed[asked.subject]
                    if asked.op == "reverse_charge" and asked.amount <= left:
                        self._wrongly(send.line, call.key, f"at least {left} left", send.code)

    def _may_have_ended(self, hold: HoldStory, by: float) -> bool:
        rivals = (read.call for read in self._cell.reads["void"] if read.call.subject == hold.id)
        expired = hold.expires is not None and hold.expires - CLOCK_SLACK_S <= by
        return expired or hold.ended.earliest <= by or any(call.start <= by for call in rivals)

    def _amount_of(self, subject: str) -> int:
        if subject in self._charges:
            return self._charges[subject].amount
        return sum(amount for _, amount, _ in self._legs.get(subject, ()))

    def _wrongly(self, line: int, key: str, expected: str, found: str) -> None:
        self._findings.add("wrongly_refused", f"key {key}", expected, found, line)

    def last_looks(self) -> None:
        """Check that whatever was reversed says so at the end, and never said more."""
        for op in ("charge_now", "transfer_now"):
            for read in self._cell.reads[op]:
                self._look(read)
        looked = {r.call.subject for op in ("charge_now", "transfer_now") for r in self._cell.reads[op]}
        for subject, amount in self._reversed.items():
            if amount and subject not in looked:
                self._findings.add("unread", subject, f"{amount} reversed of it", "never looked at")

    def _look(self, read: Read) -> None:
        subject, call = read.call.subject, read.call
        if call.status == 404 and not self._cell.archived_by(subject, call.end):
            self._findings.add("lost", subject, "accepted, so it is there", "404", read.line)
        if call.status != 200:
            return
        told: Any = (read.answer["id"], read.answer["amount"])
        if told != (subject, self._amount_of(subject)):
            self._findings.add("differs", subject, str(self._amount_of(subject)), str(told), read.line)
        most, found = self._reversed[subject], read.answer["reversed"]
        if found > most or (call.phase == "final" and found != most):
            self._findings.add("reversed_differs", subject, f"{most} reversed", str(found), read.line)

    def _add(self, rule: str, deed: Deed, expected: str, found: str) -> None:
        self._findings.add(rule, f"key {deed.key}", expected, found, deed.line)


def _explicit(deed: Deed, legs: int) -> dict[int, int] | None:
    """Return what a reversal takes of which leg; None for all that is left."""
    if deed.asked.legs:
        return {int(number): amount for number, amount, _ in deed.asked.legs}
    if deed.asked.amount or legs == 1:
        return {1: deed.answer["amount"]}
    return None

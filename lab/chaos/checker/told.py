"""Events of one cell: each operation that took effect is told once, as it was asked for, and nothing else is.

Their order agrees with that of each wallet and of each withdrawal.
"""

from collections import defaultdict
from typing import Any, BinaryIO, NamedTuple

from lab.chaos.checker.deeds import Deed
from lab.chaos.checker.evidence import Cell, Times, parse
from lab.chaos.checker.findings import Findings
from lab.chaos.checker.sequence import Place
from lab.chaos.checker.stories import ChargeStory, Story, Window
from lab.chaos.checker.withdrawals import MOVES
from lab.chaos.history import UNKNOWN, Told, read_at

SOON_S = 15.0
"""What falls due is told within this time, once nothing is wrong any more."""

_NAMES = {
    "charge": "charge.completed",
    "withdraw": "withdrawal.pending",
    "transfer": "transfer.completed",
    "hold": "hold.opened",
    "capture": "hold.captured",
    "reverse_charge": "charge.reversed",
    "reverse_transfer": "transfer.reversed",
}
_FOLLOW = ("charge.released", "transfer.released", "hold.expired", "hold.voided")


class Heard(NamedTuple):
    """An event with its place, for the checks."""

    place: Place
    type: str
    object: dict[str, Any]
    event: dict[str, Any]


def read_events(file: BinaryIO, places: list[Place]) -> list[Heard]:
    """Return the events at these places of the history, in their order."""
    heard = []
    for place in sorted(set(places), key=lambda place: place.seq):  # they ascend over epochs, too
        record = read_at(file, place.offset)
        assert isinstance(record, Told)
        event = parse(record.body)
        heard.append(Heard(place, event["type"], event["object"], event))
    return heard


def check_told(
    cell: Cell,
    heard: list[Heard],
    stories: dict[str, Story],
    deeds: dict[str, Deed],
    times: Times,
    findings: Findings,
) -> None:
    """Check the events of the cell, which are in the order of their numbers."""
    judge = _Judge(cell, heard, times, findings)
    for story in stories.values():
        judge.story(story)
    for deed in deeds.values():
        judge.deed(deed)
    judge.moves()
    judge.followers()
    judge.strangers()
    judge.order()


class _Judge:
    def __init__(self, cell: Cell, heard: list[Heard], times: Times, findings: Findings) -> None:
        self._cell, self._times, self._findings = cell, times, findings
        self._heard = heard
        self._by_deed: dict[tuple[str, str], list[Heard]] = defaultdict(list)
        for one in heard:
            self._by_deed[one.type, _id_of(one)].append(one)
        self._expected: set[tuple[str, str]] = set()
        self._moments: dict[str, list[tuple[float, float, int, int]]] = defaultdict(list)
        """By wallet: when each operation was sent and answered at the latest, its event's number, and its line."""

    # --- what was accepted -------------------------------------------------------------------------------

    def story(self, story: Story) -> None:
        """Check a charge's or a withdrawal's first event."""
        op = "charge" if isinstance(story, ChargeStory) else "withdraw"
        one = self._once(_NAMES[op], story.id, story.line)
        if one is None:
            return
        user, currency = story.wallet.split(" ")
        told = (str(one.object["user_id"]), one.object["currency"], one.object["amount"])
        self._same(one, (user, currency, story.amount), told, story.line)
        self._moment(one, [story.wallet], story.began, story.line)

    def deed(self, deed: Deed) -> None:
        """Check a deed's event; a capture has two."""
        one = self._once(_NAMES[deed.op], deed.id, deed.line)
        paid = self._once("transfer.completed", deed.id, deed.line) if deed.op == "capture" else None
        if one is not None:
            self._same(one, *_of_deed(deed, one), deed.line)
        if paid is not None:
            self._same(paid, deed.answer["captured"], paid.object["amount"], deed.line)
        for each in filter(None, (one, paid)):
            wallets = [f"{user} {each.event['currency']}" for user in each.event["user_ids"]]
            self._moment(each, wallets, deed.began, deed.line)

    def moves(self) -> None:
        """Check each withdrawal's events: its history, once, in its order."""
        finals = {
            read.call.subject: (read.answer["history"], read.line)
            for read in self._cell.reads["withdrawal"]
            if read.call.phase == "final" and read.call.status == 200
        }
        told: dict[str, list[Heard]] = defaultdict(list)
        for one in self._heard:
            if one.type.startswith("withdrawal."):
                told[one.object["withdrawal_id"]].append(one)
        for id, (history, line) in finals.items():
            statuses = [entry["status"] for entry in history]
            heard = [one.object["status"] for one in told[id]]
            types = [one.type.partition(".")[2] for one in told[id]]
            self._findings.checked["moves"] += len(heard)
            if id in self._cell.archived:  # of its history only the ends are there
                statuses = _with_ends(heard, statuses)
            if heard != statuses or types != heard:
                lines = [one.place.line for one in told[id]]
                self._findings.add("moves_differ", id, str(statuses), str(types), line, *lines)
            self._expected |= {(f"withdrawal.{status}", id) for status in statuses}

    def followers(self) -> None:
        """Check what follows by itself, or on a request without a key: releases, expiries, voids."""
        voids = self._cell.reads["void"]
        voided = {read.call.subject for read in voids if read.call.status in UNKNOWN | {200}}
        for read in self._cell.reads["hold_now"]:
            if read.call.phase == "final" and read.call.status == 200:
                self._hold_ends(read.answer, read.line)
        for one in self._heard:
            archived = self._cell.archived.get(str(one.object.get("id")))
            if one.type == "hold.opened" and archived is not None:
                self._hold_ends(one.object | {"status": archived.status}, one.place.line)
        reversed = {deed.object["id"] for deed in self._heard if deed.type.endswith(".reversed")}
        for one in self._heard:
            if one.type == "charge.completed" and one.object["id"] not in reversed:
                self._released("charge.released", one, [one.object["release_at"]])
            elif one.type == "transfer.completed" and one.object["id"] not in reversed:
                self._released("transfer.released", one, [leg["release_at"] for leg in one.object["legs"]])
        for one in self._heard:
            if one.type == "hold.voided" and one.object["id"] not in voided:
                self._findings.add("event_of_nothing", one.object["id"], "no void", one.type, one.place.line)

    def _hold_ends(self, answer: Any, line: int) -> None:
        """Check how a hold has ended: at most one of three ways."""
        id, status = answer["id"], answer["status"]
        ends = [
            one
            for one in self._heard
            if one.type in ("hold.captured", "hold.voided", "hold.expired") and one.object["id"] == id
        ]
        told = [one.type.partition(".")[2] for one in ends]
        until = answer["expires_at"]
        may_be: list[list[str]] = [[status]]
        if status == "open" or (status == "expired" and not self._is_overdue(until)):
            may_be = [[]] if until is None else [[], ["expired"]]
        if told not in may_be:
            lines = [one.place.line for one in ends]
            self._findings.add("hold_end_differs", id, f"one event, {status}", str(told), line, *lines)

    def _released(self, type: str, of: Heard, instants: list[str | None]) -> None:
        """Check that what has fallen due was released, once for each lock, after it was made."""
        id = of.object["id"]
        releases = self._by_deed[type, id]
        locked = [at for at in instants if at is not None]
        due = sum(self._is_overdue(at) for at in locked)
        if not due <= len(releases) <= len(locked):
            expected = f"{due} to {len(locked)} of {type}"
            lines = [one.place.line for one in (of, *releases)]
            self._findings.add("release_differs", id, expected, str(len(releases)), *lines)
        if any(one.place.seq < of.place.seq for one in releases if one.place.epoch == of.place.epoch):
            self._findings.add("event_out_of_order", id, f"{of.type} first", type, of.place.line)

    def _is_overdue(self, instant: str) -> bool:
        return max(self._times.of(instant), self._times.healed) < self._times.end - SOON_S

    # --- the whole ---------------------------------------------------------------------------------------

    def strangers(self) -> None:
        """Report events of what nobody has asked for."""
        for one in self._heard:
            if one.type in _FOLLOW:
                continue
            if (one.type, _id_of(one)) not in self._expected:
                found = f"{one.type} of {_id_of(one)}"
                self._findings.add(
                    "event_of_nothing", found, "what was asked for", "an event", one.place.line
                )

    def order(self) -> None:
        """Check that what was answered before something else was sent has the smaller number, in each wallet."""
        for wallet, moments in self._moments.items():
            answered = sorted(moments, key=lambda moment: moment[1])
            highest, line = 0, 0
            position = 0
            for sent, _, seq, own_line in sorted(moments):
                while answered[position][1] < sent:
                    if answered[position][2] > highest:
                        highest, line = answered[position][2:]
                    position += 1
                if seq < highest:
                    expected = f"a number above {highest}, which was answered before"
                    self._findings.add("event_out_of_order", wallet, expected, str(seq), line, own_line)

    def _once(self, type: str, id: str, line: int) -> Heard | None:
        """Return the one event of a type about something; report if there is none, or more."""
        found = self._by_deed[type, id]
        self._expected.add((type, id))
        self._findings.checked["told"] += 1
        if not found:
            self._findings.add("event_missing", f"{type} of {id}", "one event", "none", line)
            return None
        if len(found) > 1:
            lines = [one.place.line for one in found]
            self._findings.add("event_doubled", f"{type} of {id}", "one event", f"{len(found)}", line, *lines)
        return found[0]

    def _same(self, one: Heard, wanted: object, told: object, line: int) -> None:
        if wanted != told:
            subject = f"{one.type} of {_id_of(one)}"
            self._findings.add("event_differs", subject, str(wanted), str(told), line, one.place.line)

    def _moment(self, one: Heard, wallets: list[str], began: Window, line: int) -> None:
        for wallet in set(wallets):
            self._moments[wallet].append((began.earliest, began.latest, one.place.seq, line))


def _with_ends(heard: list[str], kept: list[str]) -> list[str]:
    """Return an archived withdrawal's moves, if what is kept of its history agrees with them; else what is kept."""
    rest = iter(heard)
    is_part = all(status in rest for status in kept)
    legal = all(target in MOVES[source] for source, target in zip(["", *heard], heard, strict=False))
    return heard if is_part and legal and heard[:1] + heard[-1:] == kept[:1] + kept[-1:] else kept


def _id_of(one: Heard) -> str:
    """Return the identifier of what has happened: of a reversal or a capture, its own."""
    told = one.object
    if one.type.endswith(".reversed"):
        return str((told["reversal"] or {}).get("id"))
    if one.type == "hold.captured":
        return str(told["transfer_id"])
    return str(told["withdrawal_id"] if one.type.startswith("withdrawal.") else told["id"])


def _of_deed(deed: Deed, one: Heard) -> tuple[object, object]:
    """Return what the event of a deed should say, and what it says."""
    answer, told = deed.answer, one.object
    if deed.op.startswith("reverse"):
        return (answer["reverses"], answer["amount"]), (told["id"], told["reversal"]["amount"])
    names = {
        "transfer": ("id", "amount", "currency"),
        "hold": ("id", "amount", "currency", "expires_at"),
        "capture": ("id", "amount", "captured", "transfer_id"),
    }[deed.op]
    wanted, found = ([of[name] for name in names] for of in (answer, told))
    if deed.op == "transfer":
        for of, values in ((answer, wanted), (told, found)):
            values += [(str(leg["to_user_id"]), leg["amount"]) for leg in of["legs"]]
    return wanted, found

"""A wallet service that fits on a page and never errs, to write histories that the checker must accept.

Every call takes 10 ms and takes effect in its middle. The tests then doctor what it wrote.
"""

import itertools
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from lab.chaos.history import BankPayout, Call, Mark, Record, Run

WALL_AT_0 = 1_800_000_000.0
CALL_S = 0.01


@dataclass
class Movement:
    """A charge or a withdrawal that took effect."""

    answer: dict[str, Any]
    amount: int
    wallet: str
    release: float | None = None
    history: list[dict[str, str]] | None = None
    returned: bool = False

    @property
    def status(self) -> str:
        return self.history[-1]["status"] if self.history else "completed"


@dataclass
class HonestService:
    """Keeps books, answers calls, writes the history. Amounts in minor units, times in seconds of the run."""

    now: float = 0.0
    records: list[Record] = field(default_factory=lambda: [Run(1, 60.0, WALL_AT_0)])
    movements: dict[str, Movement] = field(default_factory=dict)
    by_key: dict[str, tuple[str, Movement]] = field(default_factory=dict)
    requests: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    subjects: dict[str, str] = field(default_factory=dict)
    """What requests are about, by their bodies."""
    phase: str = "load"
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def stamp(self, at: float) -> str:
        return datetime.fromtimestamp(WALL_AT_0 + at, UTC).isoformat()

    def record(self, op: str, **values: Any) -> Call:
        call = Call(op, self.now, self.now + CALL_S, self.phase, "cell", **values)
        self.now = round(self.now + CALL_S, 6)
        self.records.append(call)
        return call

    # --- writes ------------------------------------------------------------------------------------------

    def charge(self, key: str, amount: int, *, release: float | None = None, answered: bool = True) -> Call:
        body: dict[str, Any] = {"user_id": "ann", "amount": amount, "currency": "USD", "idempotency_key": key}
        if release is not None:
            body["release_at"] = self.stamp(release)
        return self.send("charge", key, json.dumps(body), answered=answered)

    def withdraw(self, key: str, amount: int, *, answered: bool = True) -> Call:
        body = {"user_id": "ann", "amount": amount, "currency": "USD", "idempotency_key": key}
        return self.send("withdraw", key, json.dumps(body), answered=answered)

    def send(self, op: str, key: str, body: str, *, answered: bool = True, lost: bool = False) -> Call:
        """Do it; `lost`: the request never arrived; not `answered`: it did, but the answer got lost."""
        self.requests[op, body] = (key, body)
        common = {"wallet": "ann USD", "method": "POST", "path": f"/{op}", "key": key, "body": body}
        common["subject"] = self.subjects.get(body, "")
        if lost:
            return self.record(op, **common, error="reset")
        status, replayed, answer = self.decide(op, key, body)
        if not answered:
            return self.record(op, **common, error="timeout")
        return self.record(op, **common, status=status, replayed=replayed, answer=json.dumps(answer))

    def decide(self, op: str, key: str, body: str) -> tuple[int, bool, dict[str, Any]]:
        known = self.by_key.get(key)
        asked = json.loads(body)
        done = 202 if op == "withdraw" else 200
        if known is not None:
            if known[0] == op + body:
                return done, True, known[1].answer
            return 422, False, {"status": 422, "code": "idempotency_key_reused"}
        if op not in ("charge", "withdraw"):
            status, made = self.decide_other(op, key, asked, self.subjects.get(body, ""))
            if status == 200:
                self.by_key[key] = (op + body, Movement(made, 0, ""))
            return status, False, made
        at = self.now + CALL_S / 2
        if op == "withdraw" and self.balance()[0] < asked["amount"]:
            return 422, False, {"status": 422, "code": "insufficient_funds"}
        id = f"id-{next(self.numbers)}"
        answer = {"user_id": "ann", "currency": "USD", "amount": asked["amount"], "metadata": None}
        answer["created_at"] = self.stamp(at)
        if op == "charge":
            answer |= {
                "id": id,
                "type": "charge",
                "status": "completed",
                "release_at": asked.get("release_at"),
            }
            release = asked.get("release_at")
            when = None if release is None else datetime.fromisoformat(release).timestamp() - WALL_AT_0
            movement = Movement(answer, asked["amount"], "ann USD", when)
        else:
            answer |= {"withdrawal_id": id, "status": "pending", "destination": None}
            history = [{"status": "pending", "at": self.stamp(at), "reason": "accepted"}]
            movement = Movement(answer, asked["amount"], "ann USD", history=history)
        self.movements[id] = movement
        self.by_key[key] = (op + body, movement)
        return done, False, answer

    def decide_other(
        self, op: str, key: str, asked: dict[str, Any], subject: str
    ) -> tuple[int, dict[str, Any]]:
        """Do what `honest_transfers` can do, and return status and answer."""
        raise AssertionError(f"no {op} without transfers")

    def move(self, id: str, *states: str) -> None:
        """The background processes take the withdrawal through these states, 10 ms each."""
        for state in states:
            movement = self.movements[id]
            assert movement.history is not None
            at = self.stamp(self.now + CALL_S / 2)
            movement.history = [*movement.history, {"status": state, "at": at, "reason": state}]
            self.now = round(self.now + CALL_S, 6)

    def cancel(self, id: str) -> Call:
        if self.movements[id].status != "pending":
            answer = {"status": 409, "code": "not_cancellable"}
            return self.record("cancel", subject=id, status=409, answer=json.dumps(answer))
        self.move(id, "cancelled")
        self.now -= CALL_S
        return self.record("cancel", subject=id, status=200, answer=json.dumps(self.view(id)))

    # --- reads -------------------------------------------------------------------------------------------

    def balance(self, wallet: str = "ann USD") -> tuple[int, int, int]:
        at = self.now + CALL_S / 2
        parts = [0, 0, 0]
        for movement in self.movements.values():
            if movement.history is None:
                locked = movement.release is not None and movement.release > at
                parts[1 if locked else 0] += movement.amount
            elif movement.status not in ("failed", "cancelled", "returned"):
                parts[0] -= movement.amount
                parts[2] += 0 if movement.status == "completed" else movement.amount
        return parts[0], parts[1], parts[2]

    def read_balance(self, user: str = "ann") -> Call:
        withdrawable, locked, held = self.balance(f"{user} USD")
        answer = {"user_id": user, "currency": "USD", "total": withdrawable + locked + held}
        answer |= {"withdrawable": withdrawable, "locked": locked, "held": held}
        return self.record("balance", wallet=f"{user} USD", status=200, answer=json.dumps(answer))

    def read_list(self, *, limit: int = 100, walk: int = 0) -> Call:
        items = []
        for id, movement in reversed(self.movements.items()):
            kind = "charge" if movement.history is None else "withdrawal"
            sign = 1 if movement.history is None else -1
            item = {name: movement.answer[name] for name in ("user_id", "currency", "created_at")}
            item |= {"id": id, "type": kind, "amount": sign * movement.amount, "status": movement.status}
            items.append(item)
        more = len(items) > limit
        answer = {
            "transactions": items[:limit],
            "total": len(items),
            "next_cursor": "more" if more else None,
        }
        path = f"/transactions/ann?limit={limit}"
        return self.record(
            "transactions", wallet="ann USD", path=path, status=200, answer=json.dumps(answer), walk=walk
        )

    def view(self, id: str) -> dict[str, Any]:
        movement = self.movements[id]
        paid = movement.status in ("completed", "returned")
        return {
            **movement.answer,
            "status": movement.status,
            "history": movement.history,
            "bank_reference": f"po-{id}" if paid else None,
            "reference": f"ref-{id}",
        }

    def read_withdrawal(self, id: str) -> Call:
        return self.record("withdrawal", subject=id, status=200, answer=json.dumps(self.view(id)))

    # --- the end of a run --------------------------------------------------------------------------------

    def finish(self) -> list[Record]:
        """Send everything again, look at everything for the last time, list the bank's books."""
        for name in ("load_ended", "healed"):
            self.mark(name)
        self.phase = "settle"
        for (op, body), (key, _) in list(self.requests.items()):
            self.send(op, key, body)
        self.phase = "final"
        self.read_balance()
        self.read_list(walk=900)
        for id, movement in self.movements.items():
            if movement.history is None:
                continue
            self.read_withdrawal(id)
            if movement.status == "failed":
                answer = json.dumps({"reference": f"ref-{id}", "status": "declined"})
                self.record("find", subject=id, status=200, answer=answer)
            if movement.status in ("completed", "returned"):
                status = "returned" if movement.status == "returned" else "paid"
                self.records.append(BankPayout(f"po-{id}", f"ref-{id}", movement.amount, "USD", status))
        self.last_looks()
        self.mark("end")
        return self.records

    def last_looks(self) -> None:
        """Look a last time at what a service with transfers has besides."""

    def mark(self, name: str) -> None:
        self.records.append(Mark(name, self.now, WALL_AT_0 + self.now))


def write(records: list[Record], path: Path) -> Path:
    """Write the records as a history file."""
    path.write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
    return path


def doctored(call: Call, **changes: Any) -> Call:
    """The call, with some fields of its JSON answer changed."""
    answer = json.loads(call.answer) | changes
    return msgspec.structs.replace(call, answer=json.dumps(answer))

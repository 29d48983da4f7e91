"""What an honest service answers once part of its books is archived."""

import json
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from lab.chaos.history import Archived, Call, Mark, Record

GONE = {"hold_now": "hold_not_found", "charge_now": "charge_not_found", "transfer_now": "transfer_not_found"}
MADE = ("withdrawal_id", "transfer_id", "id")


def archived(records: list[Record], kinds: Mapping[str, str], before: float) -> list[Record]:
    """Return the history with these movements archived, by identifier and kind, after the load."""
    marks = {line.name: line.at for line in records if isinstance(line, Mark)}
    since = marks["load_ended"]
    found: list[Record] = []
    ends: dict[str, tuple[str, int]] = {}
    for line in records:
        if isinstance(line, Call) and line.start >= since:
            if line.op == "hold_now" and line.subject in kinds:
                hold = json.loads(line.answer)
                ends[line.subject] = hold["status"], hold["captured"]
            line = _answered(line, kinds)
        found.append(line)
    for id, kind in kinds.items():
        found.insert(-1, Archived(id, kind, "ann USD", since, before, *ends.get(id, ())))
    return found


def _answered(call: Call, kinds: Mapping[str, str]) -> Call:
    answer = json.loads(call.answer) if call.answer else {}
    if call.key and call.status in (200, 202) and made(answer) in kinds:
        return refused(call, 409, "idempotency_key_archived")
    if call.op in GONE and call.subject in kinds:
        return refused(call, 404, GONE[call.op])
    if call.op == "transactions":
        here = [item for item in answer["transactions"] if item["id"] not in kinds]
        return replace(call, answer=json.dumps(answer | {"transactions": here}))
    if call.op == "withdrawal" and call.subject in kinds:
        history = [answer["history"][0], answer["history"][-1]]
        return replace(call, answer=json.dumps(answer | {"history": history}))
    return call


def made(answer: dict[str, Any]) -> str:
    """Return the identifier of what a request has made."""
    return next(str(answer[name]) for name in MADE if answer.get(name))


def refused(call: Call, status: int, code: str) -> Call:
    """Return the call, answered with a problem."""
    answer = json.dumps({"status": status, "code": code})
    return replace(call, status=status, answer=answer, replayed=False)

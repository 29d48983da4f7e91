"""What an honest service tells of a history: the events of all that was accepted, to consumers that miss none."""

import json
from datetime import datetime
from typing import Any

import msgspec

from lab.chaos.history import Call, Mark, Record, Run, Told, ToldTo
from tests.chaos.honest_service import WALL_AT_0
from tests.chaos.honest_transfers import HonestTransfers

CONSUMERS = ("list", "stream", "webhook")
EPOCH = "epoch-1"
PATIENT_S = 20.0
"""So long after the healing is the end: what falls due has been told."""

Event = dict[str, Any]
Moment = tuple[float, Event]


def events_of(service: HonestTransfers, records: list[Record]) -> list[Event]:
    """Return the events of a finished history, in the order in which they happened, numbered."""
    moments: list[Moment] = []
    seen: set[str] = set()
    for call in records:
        if not isinstance(call, Call) or call.status not in (200, 202):
            continue
        answer = json.loads(call.answer)
        if call.key and call.key not in seen:
            seen.add(call.key)
            moments += _of_request(service, call, answer)
        elif call.op == "void" and call.subject not in seen:
            seen.add(call.subject)
            moments.append((call.start, _event("hold.voided", {"id": call.subject, "user_id": "ann"})))
        elif call.op == "withdrawal" and call.phase == "final":
            moments += _moves(service, answer)
    ends = {e["object"]["id"] for _, e in moments if e["type"] in ("hold.captured", "hold.voided")}
    reversed = {e["object"]["id"] for _, e in moments if e["type"].endswith(".reversed")}
    for _, event in list(moments):
        told = event["object"]
        if event["type"] == "hold.opened" and told["expires_at"] and told["id"] not in ends:
            moments.append((_second(told["expires_at"]), _event("hold.expired", told)))
        kind = event["type"].partition(".")[0]
        for lock in told.get("legs", [told]) if event["type"].endswith(".completed") else []:
            if lock.get("release_at") and told["id"] not in reversed and kind != "withdrawal":
                moments.append((_second(lock["release_at"]), _event(f"{kind}.released", told)))
    moments.sort(key=lambda moment: moment[0])
    return renumbered([event for _, event in moments])


def renumbered(events: list[Event]) -> list[Event]:
    """Return the events with numbers in their order."""
    return [{"epoch": EPOCH, "seq": seq, **event} for seq, event in enumerate(map(_bare, events), 1)]


def _bare(event: Event) -> Event:
    return {name: value for name, value in event.items() if name not in ("epoch", "seq")}


def _event(type: str, object: dict[str, Any], *others: str) -> Event:
    users = [object.get("user_id") or object["from_user_id"], *others]
    return {"id": f"{type} {object}", "type": type, "user_ids": users, "currency": "USD", "object": object}


def _second(instant: str) -> float:
    return datetime.fromisoformat(instant).timestamp() - WALL_AT_0


def _of_request(service: HonestTransfers, call: Call, answer: dict[str, Any]) -> list[Moment]:
    at = call.start if call.op == "capture" else _second(answer["created_at"])
    if call.op == "charge":
        return [(at, _event("charge.completed", answer))]
    if call.op == "withdraw":
        return []  # its history is told from the final look
    if call.op == "transfer":
        return [(at, _event("transfer.completed", answer, "bob"))]
    if call.op == "hold":
        return [(at, _event("hold.opened", answer))]
    if call.op == "capture":
        legs = [
            {
                "to_user_id": user,
                "amount": amount,
                "release_at": None if until is None else service.stamp(until),
            }
            for user, amount, until in service.legs[answer["transfer_id"]]
        ]
        paid = {"id": answer["transfer_id"], "from_user_id": "ann", "currency": "USD", "legs": legs}
        paid["amount"] = answer["captured"]
        return [
            (at, _event("hold.captured", answer, "bob")),
            (at, _event("transfer.completed", paid, "bob")),
        ]
    reversal = {"id": answer["id"], "amount": answer["amount"]}
    told = {"id": answer["reverses"], "user_id": "ann", "reversal": reversal}
    kind = call.op.removeprefix("reverse_")
    return [(at, _event(f"{kind}.reversed", told, *(["bob"] if kind == "transfer" else [])))]


def _moves(service: HonestTransfers, answer: dict[str, Any]) -> list[Moment]:
    return [
        (_second(move["at"]), _event(f"withdrawal.{move['status']}", answer | {"status": move["status"]}))
        for move in answer["history"]
    ]


def told(records: list[Record], *sequences: list[Event], patient: bool = False) -> list[Record]:
    """Return the history with consumers that were told these events: the last ones the same as the first."""
    run = records[0]
    assert isinstance(run, Run)
    lists = [*sequences, *[sequences[0]] * (len(CONSUMERS) - len(sequences))]
    lines: list[Record] = [
        Told(consumer, 1.0, json.dumps(event), str(event["seq"]) if consumer == "stream" else "")
        for consumer, events in zip(CONSUMERS, lists, strict=True)
        for event in events
    ]
    lines.append(ToldTo(1.0, max(event["seq"] for events in lists for event in events)))
    *before, end = records[1:]
    assert isinstance(end, Mark)
    if patient:
        end = Mark("end", end.at + PATIENT_S, end.wall + PATIENT_S)
    return [msgspec.structs.replace(run, consumers=CONSUMERS), *before, *lines, end]

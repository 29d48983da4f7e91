"""An honest service that also moves money between wallets: transfers, holds and reversals."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lab.chaos.history import Call
from tests.chaos.honest_service import CALL_S, WALL_AT_0, HonestService

Legs = list[tuple[str, int, float | None]]
"""Payee, amount, and the second until which it is locked."""


@dataclass
class HonestTransfers(HonestService):
    """Ann pays bob, sets money aside, and takes it back."""

    flows: list[tuple[str, int, float | None]] = field(default_factory=list)
    """Wallet, amount, and the second until which it is locked."""
    holds: dict[str, dict[str, Any]] = field(default_factory=dict)
    legs: dict[str, Legs] = field(default_factory=dict)
    reversed: dict[str, int] = field(default_factory=dict)

    # --- writes ------------------------------------------------------------------------------------------

    def transfer(self, key: str, *legs: tuple[str, int, float | None]) -> Call:
        body = {"from_user_id": "ann", "legs": self._spelled(legs), "idempotency_key": key}
        return self.send("transfer", key, json.dumps(body))

    def hold(self, key: str, amount: int, expires: float | None = None) -> Call:
        body: dict[str, Any] = {"user_id": "ann", "amount": amount, "idempotency_key": key}
        if expires is not None:
            body["expires_at"] = self.stamp(expires)
        return self.send("hold", key, json.dumps(body))

    def capture(self, key: str, hold: str, *legs: tuple[str, int, float | None]) -> Call:
        body: dict[str, Any] = {"legs": self._spelled(legs)} if legs else {"to_user_id": "bob"}
        return self._about("capture", key, hold, body)

    def reverse(self, op: str, key: str, subject: str, **body: Any) -> Call:
        return self._about(op, key, subject, body)

    def _about(self, op: str, key: str, subject: str, body: dict[str, Any]) -> Call:
        text = json.dumps(body | {"idempotency_key": key})
        self.subjects[text] = subject
        return self.send(op, key, text)

    def _spelled(self, legs: Any) -> list[dict[str, Any]]:
        return [
            {"to_user_id": user, "amount": amount} | ({} if at is None else {"release_at": self.stamp(at)})
            for user, amount, at in legs
        ]

    def void(self, hold: str) -> Call:
        about = {"wallet": "ann USD", "method": "POST", "subject": hold}
        if self.view_hold(hold)["status"] not in ("open", "voided"):
            answer = {"status": 409, "code": "hold_not_open"}
            return self.record("void", **about, status=409, answer=json.dumps(answer))
        self.holds[hold]["status"] = "voided"
        return self.record("void", **about, status=200, answer=json.dumps(self.view_hold(hold)))

    def decide_other(
        self, op: str, key: str, asked: dict[str, Any], subject: str
    ) -> tuple[int, dict[str, Any]]:
        at = self.stamp(self.now + CALL_S / 2)
        if op == "transfer":
            legs = [(leg["to_user_id"], leg["amount"], self._second(leg)) for leg in asked["legs"]]
            amount = sum(amount for _, amount, _ in legs)
            if self.balance()[0] < amount:
                return 422, {"status": 422, "code": "insufficient_funds"}
            id = f"transfer-{key}"
            self._pay(id, legs)
            answer = {"id": id, "from_user_id": "ann", "currency": "USD", "amount": amount, "reversed": 0}
            return 200, answer | {
                "legs": [{"release_at": None} | leg for leg in asked["legs"]],
                "metadata": None,
                "created_at": at,
            }
        if op == "hold":
            return self._place(f"hold-{key}", asked, at)
        if op == "capture":
            return self._capture(key, asked, subject)
        return self._reverse(op, key, asked, subject, at)

    def _pay(self, id: str, legs: Legs) -> None:
        self.legs[id] = legs
        self.flows += [(f"{user} USD", amount, at) for user, amount, at in legs]
        self.flows.append(("ann USD", -sum(amount for _, amount, _ in legs), None))

    def _place(self, id: str, asked: dict[str, Any], at: str) -> tuple[int, dict[str, Any]]:
        if self.balance()[0] < asked["amount"]:
            return 422, {"status": 422, "code": "insufficient_funds"}
        answer = {"id": id, "user_id": "ann", "currency": "USD", "amount": asked["amount"], "captured": 0}
        answer |= {"status": "open", "transfer_id": None, "metadata": None, "created_at": at}
        self.holds[id] = answer | {"expires_at": asked.get("expires_at")}
        return 200, dict(self.holds[id])

    def _capture(self, key: str, asked: dict[str, Any], hold: str) -> tuple[int, dict[str, Any]]:
        now = self.view_hold(hold)
        legs: Legs = [(leg["to_user_id"], leg["amount"], self._second(leg)) for leg in asked.get("legs", ())]
        legs = legs or [("bob", now["amount"], None)]
        amount = sum(amount for _, amount, _ in legs)
        if now["status"] != "open":
            return 409, {"status": 409, "code": "hold_not_open"}
        if amount > now["amount"]:
            return 422, {"status": 422, "code": "capture_exceeds_hold"}
        self.holds[hold] |= {"status": "captured", "captured": amount, "transfer_id": f"transfer-{key}"}
        self._pay(f"transfer-{key}", legs)
        return 200, dict(self.holds[hold])

    def _reverse(
        self, op: str, key: str, asked: dict[str, Any], subject: str, at: str
    ) -> tuple[int, dict[str, Any]]:
        charge = self.movements.get(subject)
        legs: Legs = [("ann", charge.amount, charge.release)] if charge else self.legs[subject]
        before = self.reversed.get(subject, 0)
        left = sum(amount for _, amount, _ in legs) - before
        amount = asked.get("amount") or sum(leg["amount"] for leg in asked.get("legs", ())) or left
        if not 0 < amount <= left:
            return 422, {"status": 422, "code": "exceeds_original"}
        self.reversed[subject] = before + amount
        parts = [(leg["leg"], leg["amount"]) for leg in asked.get("legs", ())] or [(1, amount)]
        for number, part in parts:
            user, _, until = legs[number - 1]
            self.flows.append((f"{user} USD", -part, until))
        if op == "reverse_transfer":
            self.flows.append(("ann USD", amount, None))
        answer = {"id": f"reversal-{key}", "reverses": subject, "currency": "USD", "amount": amount}
        return 200, answer | {"reason": None, "created_at": at}

    def _second(self, leg: dict[str, Any]) -> float | None:
        return (
            datetime.fromisoformat(leg["release_at"]).timestamp() - WALL_AT_0 if "release_at" in leg else None
        )

    # --- reads -------------------------------------------------------------------------------------------

    def balance(self, wallet: str = "ann USD") -> tuple[int, int, int]:
        at = self.now + CALL_S / 2
        parts = list(super().balance() if wallet == "ann USD" else (0, 0, 0))
        for owner, amount, until in self.flows:
            if owner == wallet:
                parts[1 if until is not None and until > at else 0] += amount
        if wallet == "ann USD":
            for id in self.holds:
                hold = self.view_hold(id)
                parts[0] -= hold["amount"] if hold["status"] == "open" else 0
                parts[2] += hold["amount"] if hold["status"] == "open" else 0
        return parts[0], parts[1], parts[2]

    def view_hold(self, id: str) -> dict[str, Any]:
        hold, at = self.holds[id], self.now + CALL_S / 2
        if hold["status"] == "open" and hold["expires_at"] is not None:
            expires = datetime.fromisoformat(hold["expires_at"]).timestamp() - WALL_AT_0
            return hold | {"status": "expired" if expires <= at else "open"}
        return dict(hold)

    def look(self, op: str, id: str) -> Call:
        """Read a hold, a transfer or a charge as it is now."""
        if op == "hold_now":
            answer = self.view_hold(id)
        else:
            charge = self.movements.get(id)
            amount = charge.amount if charge else sum(amount for _, amount, _ in self.legs[id])
            answer = {"id": id, "amount": amount, "reversed": self.reversed.get(id, 0)}
        return self.record(op, subject=id, wallet="ann USD", status=200, answer=json.dumps(answer))

    def last_looks(self) -> None:
        self.read_balance("bob")
        for id in self.holds:
            self.look("hold_now", id)
        for id in self.reversed:
            self.look("charge_now" if id in self.movements else "transfer_now", id)

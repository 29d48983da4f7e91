"""The operations of the load on transfers, holds and reversals. They stay in a cell: money goes to the neighbour."""

import asyncio
import json
from itertools import pairwise
from random import Random
from typing import Any

from lab.chaos.history import Call
from lab.chaos.requests import Request
from lab.chaos.sending import Sending, id_of, soon
from lab.chaos.wallets import Place

WEIGHTS = {
    "transfer": 12,
    "transfers": 1,
    "hold": 8,
    "capture": 5,
    "void": 2,
    "end_hold_at_once": 2,
    "reverse_charge": 3,
    "reverse_transfer": 3,
    "reverse_at_once": 2,
    "look_at_hold": 2,
    "look_at_transfer": 1,
    "look_at_charge": 1,
}


class TransferOperations(Sending):
    """Pays, sets aside, captures and takes back; safe for concurrent use."""

    # --- drawing requests --------------------------------------------------------------------------------

    def _new_transfer(self, random: Random, key: str) -> Request:
        payer, payee = self._wallets.pair(random)
        body: dict[str, Any] = {"from_user_id": payer.spelled, "idempotency_key": key}
        body |= _legs(random, payee, random.randint(1, random.choice((200, 900, 900, 20_000))))
        if random.random() < 0.15:
            body["metadata"] = {"order": random.randint(1, 9)}
        return Request("transfer", payer.cell, payer.wallet, key, json.dumps(body), path="/transfers")

    def _new_hold(self, random: Random, key: str) -> Request:
        holder, _ = self._wallets.pair(random)
        body: dict[str, Any] = {"user_id": holder.spelled, "idempotency_key": key}
        body["amount"] = random.randint(1, random.choice((200, 900)))
        if random.random() < 0.6:
            body["expires_at"] = soon(random)
        return Request("hold", holder.cell, holder.wallet, key, json.dumps(body), path="/holds")

    def _new_capture(self, random: Random, key: str, hold: Call) -> Request:
        payee = self._wallets.payee_of(hold.cell, hold.wallet)
        amount = json.loads(hold.answer)["amount"]
        body: dict[str, Any] = {"to_user_id": payee.spelled}
        if random.random() < 0.6:
            body = _legs(random, payee, random.choice((amount, random.randint(1, amount), amount + 1)))
        elif random.random() < 0.3:
            body["release_at"] = soon(random)
        return _about(hold, "capture", f"/holds/{id_of(hold)}/capture", id_of(hold), key, body)

    def _new_reversal(self, random: Random, key: str, of: Call) -> Request:
        """Draw a reversal of a charge, a transfer, or the transfer that a capture made."""
        answer = json.loads(of.answer)
        body: dict[str, Any] = {"reason": "chaos"} if random.random() < 0.3 else {}
        if of.op == "charge":
            if random.random() < 0.7:
                body["amount"] = random.randint(1, answer["amount"])
            return _about(of, "reverse_charge", f"/charges/{answer['id']}/reverse", answer["id"], key, body)
        id = answer["transfer_id"] if of.op == "capture" else answer["id"]
        legs = answer.get("legs", ())
        if len(legs) == 1 and random.random() < 0.6:
            body["amount"] = random.randint(1, legs[0]["amount"])
        elif legs and random.random() < 0.6:
            some = random.sample(range(1, len(legs) + 1), random.randint(1, len(legs)))
            body["legs"] = [
                {"leg": leg, "amount": random.randint(1, legs[leg - 1]["amount"])} for leg in some
            ]
        return _about(of, "reverse_transfer", f"/transfers/{id}/reverse", id, key, body)

    def _undoable(self, random: Random) -> Call | None:
        return self._recent(random.choice(("charge", "transfer", "transfer", "capture")), random, 200)

    # --- writes ------------------------------------------------------------------------------------------

    async def _transfer(self, random: Random, number: int) -> None:
        await self._send(self._new_transfer(random, self._key(number)))

    async def _transfers(self, random: Random, number: int) -> None:
        """Send several transfers in one request."""
        requests = [
            self._new_transfer(random, self._key(number, part)) for part in range(random.randint(2, 6))
        ]
        await self._client.send_bulk(requests, "/transfers")
        self._requests.extend(requests)

    async def _hold(self, random: Random, number: int) -> None:
        await self._send(self._new_hold(random, self._key(number)))

    async def _capture(self, random: Random, number: int) -> None:
        if hold := self._recent("hold", random):
            await self._send(self._new_capture(random, self._key(number), hold))

    async def _void(self, random: Random, number: int) -> None:
        if hold := self._recent("hold", random):
            await self._client.void(hold.cell, hold.wallet, id_of(hold))

    async def _end_hold_at_once(self, random: Random, number: int) -> None:
        """Capture a new hold twice and void it, all at the same time: only one can succeed."""
        hold = await self._send(self._new_hold(random, self._key(number)))
        if hold.status == 200:
            captures = [self._new_capture(random, self._key(number, part), hold) for part in (1, 2)]
            void = self._client.void(hold.cell, hold.wallet, id_of(hold))
            await asyncio.gather(*(self._send(request) for request in captures), void)

    async def _reverse_charge(self, random: Random, number: int) -> None:
        if charge := self._recent("charge", random, 200):
            await self._send(self._new_reversal(random, self._key(number), charge))

    async def _reverse_transfer(self, random: Random, number: int) -> None:
        if transfer := self._recent(random.choice(("transfer", "transfer", "capture")), random, 200):
            await self._send(self._new_reversal(random, self._key(number), transfer))

    async def _reverse_at_once(self, random: Random, number: int) -> None:
        """Reverse the same thing several times at once: never more than there was."""
        if of := self._undoable(random):
            requests = [self._new_reversal(random, self._key(number, part), of) for part in range(4)]
            await asyncio.gather(*(self._send(request) for request in requests))

    # --- reads -------------------------------------------------------------------------------------------

    async def _look_at_hold(self, random: Random, number: int) -> None:
        if hold := self._recent("hold", random, 200):
            await self._look_at("hold_now", f"/holds/{id_of(hold)}", hold, id_of(hold))

    async def _look_at_transfer(self, random: Random, number: int) -> None:
        if transfer := self._recent("transfer", random, 200):
            await self._look_at("transfer_now", f"/transfers/{id_of(transfer)}", transfer, id_of(transfer))

    async def _look_at_charge(self, random: Random, number: int) -> None:
        if charge := self._recent("charge", random, 200):
            await self._look_at("charge_now", f"/charges/{id_of(charge)}", charge, id_of(charge))

    async def _look_at(self, op: str, path: str, of: Call, id: str) -> None:
        await self._client.read(op, path, cell=of.cell, wallet=of.wallet, subject=id)


def _about(of: Call, op: str, path: str, subject: str, key: str, body: dict[str, Any]) -> Request:
    text = json.dumps(body | {"idempotency_key": key})
    return Request(op, of.cell, of.wallet, key, text, path=path, subject=subject)


def _legs(random: Random, payee: Place, amount: int) -> dict[str, Any]:
    """Return the members of a body that move an amount to the payee: in one leg or in several, some of them locked."""
    parts = min(amount, random.choice((1, 1, 1, 2, 3)))
    cuts = [0, *sorted(random.sample(range(1, amount), parts - 1)), amount]
    legs = []
    for low, high in pairwise(cuts):
        leg: dict[str, Any] = {"to_user_id": payee.spelled, "amount": high - low}
        if random.random() < 0.25:
            leg["release_at"] = soon(random)
        legs.append(leg)
    return legs[0] if parts == 1 and random.random() < 0.7 else {"legs": legs}

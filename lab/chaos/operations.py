"""The operations of the load: each operation number is drawn from the seed, whatever happened to the others.

The *subject* of an operation (an earlier request, an accepted withdrawal) is drawn from those that exist by then. So
two runs of one seed do the same things, with the same amounts and in the same order, but not exactly the same calls.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any
from urllib.parse import quote

from lab.chaos.client import RecordingClient
from lab.chaos.history import Call
from lab.chaos.requests import Request
from lab.chaos.sending import id_of, soon
from lab.chaos.transfer_operations import WEIGHTS as TRANSFER_WEIGHTS
from lab.chaos.transfer_operations import TransferOperations
from lab.chaos.wallets import Place, Wallets

WALK_PAGES_MAX = 5

WEIGHTS = TRANSFER_WEIGHTS | {
    "charge": 18,
    "charge_locked": 10,
    "bulk": 2,
    "withdraw": 15,
    "withdraw_all_at_once": 1,
    "repeat_together": 3,
    "repeat_later": 8,
    "misuse": 4,
    "cancel_at_once": 3,
    "cancel_some": 2,
    "balance": 18,
    "transactions": 4,
    "walk": 1,
    "withdrawal": 5,
    "await_end": 3,
    "by_key": 2,
    "take_back": 1,
}
METADATA: tuple[dict[str, Any], ...] = (
    {"order": 7, "note": "für zwei"},
    {},
    {"nested": {"list": [1, 2.5, None, True]}},
    {"emoji": "💸"},
)
DESTINATIONS: tuple[Any, ...] = (
    "DE02 1203 0000 0000 2020 51",
    {"iban": "DE02", "name": "Ann Ö."},
    {"account": [1, 2]},
)


class Operations(TransferOperations):
    """Does operation after operation; safe for concurrent use."""

    def __init__(self, seed: int, client: RecordingClient, wallets: Wallets) -> None:
        super().__init__(seed, client, wallets)
        self._walks = 0
        self._kinds = list(WEIGHTS)
        self._weights = list(WEIGHTS.values())

    async def do(self, number: int) -> None:
        """Do operation `number`."""
        random = Random(f"{self._seed}:{number}")
        kind = random.choices(self._kinds, self._weights)[0]
        act: Callable[[Random, int], Awaitable[None]] = getattr(self, f"_{kind}")
        await act(random, number)

    # --- drawing requests --------------------------------------------------------------------------------

    def _new(self, random: Random, op: str, key: str, place: Place, **fields: Any) -> Request:
        body: dict[str, Any] = {"user_id": place.spelled, "amount": fields.pop("amount"), **fields}
        if place.currency != "USD" or random.random() < 0.3:
            body["currency"] = place.currency
        if random.random() < 0.15:
            body["metadata"] = random.choice(METADATA)
        if op == "withdraw" and random.random() < 0.3:
            body["destination"] = random.choice(DESTINATIONS)
        key_in_header = random.random() < 0.1
        if not key_in_header:
            body["idempotency_key"] = key
        text = json.dumps(body, ensure_ascii=random.random() < 0.5)
        return Request(op, place.cell, place.wallet, key, text, key_in_header)

    def _new_charge(self, random: Random, key: str, place: Place, *, locked: bool) -> Request:
        fields: dict[str, Any] = {"amount": random.randint(1, 2_000)}
        if locked:
            fields["release_at"] = soon(random)
        return self._new(random, "charge", key, place, **fields)

    # --- writes ------------------------------------------------------------------------------------------

    async def _charge(self, random: Random, number: int) -> None:
        place = self._wallets.draw(random)
        await self._send(self._new_charge(random, self._key(number), place, locked=False))

    async def charge_once(self, key: str) -> bool:
        """Send one charge to the hot wallet; return whether it was accepted."""
        place = self._wallets.cells["hot"][0]
        request = self._new_charge(Random(f"{self._seed}:{key}"), f"{self._seed}-{key}", place, locked=False)
        return (await self._send(request)).status == 200

    async def _charge_locked(self, random: Random, number: int) -> None:
        place = self._wallets.draw(random)
        await self._send(self._new_charge(random, self._key(number), place, locked=True))

    async def _bulk(self, random: Random, number: int) -> None:
        requests = []
        for part in range(random.randint(2, 8)):
            place, locked = self._wallets.draw(random), random.random() < 0.3
            request = self._new_charge(random, self._key(number, part), place, locked=locked)
            if not request.key_in_header:
                requests.append(request)
        if requests and random.random() < 0.3:
            requests.append(random.choice(requests))  # one key twice in one request
        if requests:
            await self._client.send_bulk(requests)
            self._requests.extend(requests)

    async def _withdraw(self, random: Random, number: int) -> None:
        place = self._wallets.draw(random)
        amount = random.randint(1, random.choice((100, 800, 800, 20_000)))
        await self._send(self._new(random, "withdraw", self._key(number), place, amount=amount))

    async def _withdraw_all_at_once(self, random: Random, number: int) -> None:
        """Send several withdrawals of the whole balance at the same time: only one can succeed."""
        place = self._wallets.draw(random)
        balance = await self.read_balance(place)
        amount = json.loads(balance.answer)["withdrawable"] if balance.status == 200 else 0
        if amount > 0:
            keys = [self._key(number, part) for part in range(4)]
            requests = [self._new(random, "withdraw", key, place, amount=amount) for key in keys]
            await asyncio.gather(*(self._send(request) for request in requests))

    async def _repeat_together(self, random: Random, number: int) -> None:
        """Send the same new request several times at once."""
        place, key = self._wallets.draw(random), self._key(number)
        if random.random() < 0.6:
            request = self._new_charge(random, key, place, locked=random.random() < 0.3)
        else:
            request = self._new(random, "withdraw", key, place, amount=random.randint(1, 500))
        times = random.randint(2, 6)
        await asyncio.gather(*(self._send(request) for _ in range(times)))

    async def _repeat_later(self, random: Random, number: int) -> None:
        if self._requests:
            recent = len(self._requests) - 1 - int(random.expovariate(1 / 50))
            await self._send(self._requests[max(recent, 0)])

    async def _misuse(self, random: Random, number: int) -> None:
        """Send another request under a used key: another amount, another kind, or another wallet of the cell."""
        if not self._requests:
            return
        victim = self._requests[random.randrange(len(self._requests))]
        places = self._wallets.cells[victim.cell]
        place = next(place for place in places if place.wallet == victim.wallet)
        op = victim.op if victim.op == "withdraw" else "charge"
        how = random.choice(("amount", "kind", "wallet"))
        if how == "kind":
            op = "withdraw" if op == "charge" else "charge"
        elif how == "wallet":
            place = self._wallets.neighbour(place, random)
        await self._send(self._new(random, op, victim.key, place, amount=random.randint(2_001, 2_500)))

    async def _cancel_at_once(self, random: Random, number: int) -> None:
        place = self._wallets.draw(random)
        request = self._new(random, "withdraw", self._key(number), place, amount=random.randint(1, 300))
        call = await self._send(request)
        if call.status == 202:
            await self._cancel(call)

    async def _cancel_some(self, random: Random, number: int) -> None:
        if accepted := self._recent("withdraw", random):
            await self._cancel(accepted)

    async def _cancel(self, accepted: Call) -> None:
        await self._client.cancel(accepted.cell, accepted.wallet, id_of(accepted, "withdrawal_id"))

    async def _take_back(self, random: Random, number: int) -> None:
        """Let the bank return a payout: mostly of a withdrawal known to be completed, sometimes of any withdrawal."""
        completed = self._accepted_by("completed")
        pool = completed if completed and random.random() < 0.8 else self._accepted_by("withdraw")
        if pool:
            call = pool[random.randrange(len(pool))]
            found = await self._read_withdrawal(call, "")
            if found.status == 200:
                reference = json.loads(found.answer)["reference"]
                await self._client.take_back(call.cell, call.wallet, id_of(call, "withdrawal_id"), reference)

    # --- reads -------------------------------------------------------------------------------------------

    async def _balance(self, random: Random, number: int) -> None:
        await self.read_balance(self._wallets.draw(random))

    async def read_balance(self, place: Place) -> Call:
        """Read the balance of the place."""
        path = f"/balance/{quote(place.user, safe='')}?currency={place.currency}"
        return await self._client.read("balance", path, cell=place.cell, wallet=place.wallet)

    async def read_balance_at(self, place: Place, instant: str) -> Call:
        """Read the balance that the place had at an instant."""
        path = f"/balance/{quote(place.user, safe='')}?currency={place.currency}&at={quote(instant)}"
        return await self._client.read(
            "balance_at", path, cell=place.cell, wallet=place.wallet, subject=instant
        )

    async def _transactions(self, random: Random, number: int) -> None:
        place = self._wallets.draw(random)
        query = (
            f"user_id={quote(place.user, safe='')}&currency={place.currency}&limit={random.randint(1, 100)}"
        )
        path = f"/transactions?{query}&page={random.choice((1, 1, 1, 2, 3))}"
        await self._client.read("transactions", path, cell=place.cell, wallet=place.wallet)

    async def _walk(self, random: Random, number: int) -> None:
        await self.walk(self._wallets.draw(random), random.randint(5, 50), WALK_PAGES_MAX)

    async def walk(self, place: Place, limit: int, pages_max: int) -> bool:
        """Read through a list, cursor by cursor; return True if it reached the end."""
        self._walks += 1
        walk, cursor = self._walks, ""
        for _ in range(pages_max):
            path = (
                f"/transactions/{quote(place.user, safe='')}?currency={place.currency}&limit={limit}{cursor}"
            )
            call = await self._client.read(
                "transactions", path, cell=place.cell, wallet=place.wallet, walk=walk
            )
            if call.status != 200:
                return False
            following = json.loads(call.answer)["next_cursor"]
            if following is None:
                return True
            cursor = f"&cursor={quote(following, safe='')}"
        return False

    async def _withdrawal(self, random: Random, number: int) -> None:
        await self._look(random, "")

    async def _await_end(self, random: Random, number: int) -> None:
        await self._look(random, f"?wait={random.choice((0.3, 1, 2))}")

    async def _look(self, random: Random, query: str) -> None:
        accepted = self._recent("withdraw", random, 200)
        if accepted is None:
            return
        call = await self._read_withdrawal(accepted, query)
        if call.status == 200 and json.loads(call.answer)["status"] == "completed":
            self._accepted_by("completed").append(accepted)

    async def _read_withdrawal(self, accepted: Call, query: str) -> Call:
        id = id_of(accepted, "withdrawal_id")
        about = {"cell": accepted.cell, "wallet": accepted.wallet, "subject": id}
        return await self._client.read("withdrawal", f"/withdrawals/{id}{query}", **about)

    async def _by_key(self, random: Random, number: int) -> None:
        if self._requests:
            request = self._requests[random.randrange(len(self._requests))]
            path = f"/withdrawals?idempotency_key={quote(request.key, safe='')}"
            await self._client.read("by_key", path, cell=request.cell, wallet=request.wallet, key=request.key)

"""After the load, when the stack is whole again: settle everything open, and read everything a last time.

- It sends every request of the load again, those without a certain answer first: this shows their outcome, and that
  every key still gets its first answer. (A request that was refused may be accepted by now.)
- It polls withdrawals until all have ended, and payouts that the bank took back are returned here.
- Then it reads everything: balances, complete lists, every withdrawal, the bank's books.

All calls go into the history, and the checker judges them. Every wait has a limit.
"""

import asyncio
import json
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

from lab.chaos.client import RecordingClient
from lab.chaos.history import UNKNOWN, BankPayout, Call, HistoryWriter, Trouble, read, read_at
from lab.chaos.operations import Operations
from lab.chaos.requests import Request
from lab.chaos.wallets import Wallets
from ops.local.progress import Progress

AT_ONCE = 24
RESEND_TRIES_MAX = 20
RESEND_WITHIN_S = 60.0
RESEND_PER_S_MIN = 50.0
RETRY_WAIT_S = 0.3
END_WITHIN_S = 60.0
SWEEP_EVERY_S = 0.5
TELL_EVERY_S = 5.0
BOOK_PAGE = 1_000
WALK_PAGES_MAX = 100_000
ENDED = frozenset({"completed", "failed", "cancelled", "returned"})
KEYED = frozenset({"charge", "withdraw", "transfer", "hold", "capture", "reverse_charge", "reverse_transfer"})
"""The operations whose requests carry an idempotency key."""

Item = TypeVar("Item")


class Aftermath:
    """Runs once, when the load has ended and the faults have been healed."""

    def __init__(
        self,
        client: RecordingClient,
        operations: Operations,
        wallets: Wallets,
        history: HistoryWriter,
        progress: Progress,
    ) -> None:
        self._client = client
        self._operations = operations
        self._wallets = wallets
        self._history = history
        self._progress = progress
        self._withdrawals: dict[str, tuple[str, str]] = {}
        """All accepted withdrawals: cell and wallet by identifier."""
        self._touched: dict[str, tuple[str, str, str, str]] = {}
        """Holds, and what was reversed: operation, path, cell and wallet of its last read, by identifier."""
        self._open: set[str] = set()
        self._open_from_load: set[str] = set()
        self._references: dict[str, str] = {}
        """Their references at the bank."""
        self._returned: set[str] = set()
        """References of payouts that the bank sent back."""
        self._instants: Sequence[str] = ()
        self._resent = 0
        self._resending = True
        self._healed = 0.0
        self.settled_s = 0.0
        """Time from the healing until the last withdrawal of the load was seen ended."""

    async def run(self, healed: float, instants: Sequence[str] = ()) -> None:
        """Settle and read. `healed` is the end of the faults, in seconds of the run.

        The balances at `instants` are read as well.
        """
        self._instants = instants
        self._client.phase = "settle"
        unclear, clear = self._collect()
        total = len(unclear) + len(clear)
        self._progress.say(
            f"Sending {total:,} requests again, {len(unclear):,} without a certain answer first"
        )
        self._returned = {row["reference"] async for row in self._books() if row["status"] == "returned"}
        self._open = set(self._withdrawals)
        self._open_from_load = set(self._withdrawals)
        self._healed = healed
        teller = asyncio.create_task(self._tell(total))
        sweeping = asyncio.create_task(self._sweep_until_ended())
        try:
            async with asyncio.timeout(RESEND_WITHIN_S + total / RESEND_PER_S_MIN):
                await self._for_each(unclear, self._resend)
                await self._for_each(clear, self._resend)
            self._resending = False
            async with asyncio.timeout(END_WITHIN_S):
                await sweeping
        except TimeoutError:
            missing = f"{self._resent:,} of {total:,} sent again, {len(self._open):,} withdrawals open"
            self._progress.say(f"Not settled in time: {missing}")
        finally:
            teller.cancel()
            sweeping.cancel()
        await self._last_look()

    # --- sending again -----------------------------------------------------------------------------------

    def _collect(self) -> tuple["array[int]", "array[int]"]:
        """Return the positions of the load's requests in the history, each once: unclear ones, and the others."""
        self._history.flush()
        places: dict[bytes, int] = {}
        unclear: set[bytes] = set()
        for line in read(self._history.path):
            call = line.record
            if not isinstance(call, Call) or call.op not in KEYED:
                continue
            identity = "\0".join((call.op, call.subject, call.key, call.body)).encode()
            digest = blake2b(identity, digest_size=12).digest()
            places.setdefault(digest, line.offset)
            if call.status in UNKNOWN:
                unclear.add(digest)
            self._remember(call)
        first = array("q", (places[digest] for digest in unclear))
        others = array("q", (offset for digest, offset in places.items() if digest not in unclear))
        return first, others

    def _remember(self, call: Call) -> None:
        if call.op == "withdraw" and call.status == 202:
            id = json.loads(call.answer)["withdrawal_id"]
            if id not in self._withdrawals:
                self._withdrawals[id] = (call.cell, call.wallet)
                self._open.add(id)

        if call.status != 200:
            return
        if call.op == "hold":
            self._touch("hold_now", "/holds", json.loads(call.answer)["id"], call)
        elif call.op in ("reverse_charge", "reverse_transfer"):
            kind = call.op.removeprefix("reverse_")
            self._touch(f"{kind}_now", f"/{kind}s", call.subject, call)

    def _touch(self, op: str, folder: str, id: str, call: Call) -> None:
        self._touched[id] = (op, f"{folder}/{id}", call.cell, call.wallet)

    async def _resend(self, offset: int) -> None:
        with self._history.path.open("rb") as file:
            call = read_at(file, offset)
        assert isinstance(call, Call)
        request = Request.of(call)
        for _ in range(RESEND_TRIES_MAX):
            answer = await self._client.send(request)
            if answer.status not in UNKNOWN:
                self._remember(answer)
                break
            await asyncio.sleep(RETRY_WAIT_S)
        self._resent += 1

    async def _tell(self, total: int) -> None:
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            text = f"  {self._resent:,} of {total:,} sent again, {len(self._open):,} withdrawals open"
            self._progress.say(text)

    # --- waiting for ends --------------------------------------------------------------------------------

    async def _sweep_until_ended(self) -> None:
        while self._open or self._resending:
            await self._for_each(list(self._open), self._poll)
            await asyncio.sleep(SWEEP_EVERY_S)

    async def _poll(self, id: str) -> None:
        status = await self._look(id)
        to_come_back = self._references.get(id) in self._returned
        if status in ENDED and (status == "returned" or not to_come_back):
            self._open.discard(id)
            if self._open_from_load:
                self._open_from_load.discard(id)
                self.settled_s = self._history.now() - self._healed

    async def _look(self, id: str) -> str:
        """Read a withdrawal; return its status, empty if there was no answer."""
        cell, wallet = self._withdrawals[id]
        path = f"/withdrawals/{id}"
        call = await self._client.read("withdrawal", path, cell=cell, wallet=wallet, subject=id)
        if call.status != 200:
            return ""
        answer = json.loads(call.answer)
        self._references[id] = answer["reference"]
        return str(answer["status"])

    # --- the last look -----------------------------------------------------------------------------------

    async def _last_look(self) -> None:
        self._client.phase = "final"
        self._progress.say(
            f"Reading everything once more: {len(self._withdrawals):,} withdrawals, all wallets"
        )
        await self._for_each(list(self._withdrawals), self._look_for_the_last_time)
        await self._for_each(list(self._touched), self._look_at)
        for place in self._wallets.all():
            await self._operations.read_balance(place)
            for instant in self._instants:
                await self._operations.read_balance_at(place, instant)
            if not await self._operations.walk(place, 100, WALK_PAGES_MAX):
                self.trouble("unreadable", "a whole list of transactions", f"no answer for {place.wallet}")
        async for row in self._books():
            fields = (row["payout_id"], row["reference"], row["amount"], row["currency"], row["status"])
            self._history.write(BankPayout(*fields))

    async def _look_for_the_last_time(self, id: str) -> None:
        if await self._look(id) == "failed":
            await self._client.find_at_bank(*self._withdrawals[id], id, self._references[id])

    async def _look_at(self, id: str) -> None:
        op, path, cell, wallet = self._touched[id]
        await self._client.read(op, path, cell=cell, wallet=wallet, subject=id)

    async def _books(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the bank's books; record trouble if they can't be read."""
        after = ""
        while True:
            status, page = await self._client.bank("GET", f"/payouts?limit={BOOK_PAGE}{after}")
            if status != 200:
                self.trouble("bank_unreadable", "the bank's books", f"status {status}")
                return
            for row in page["payouts"]:
                yield row
            if page["next"] is None:
                return
            after = f"&after={page['next']}"

    def trouble(self, rule: str, expected: str, found: str) -> None:
        """Record an action that failed although it should have been possible."""
        self._history.write(Trouble(rule, self._history.now(), expected, found))

    async def _for_each(self, items: Iterable[Item], act: Callable[[Item], Awaitable[None]]) -> None:
        """Call `act` for all items, `AT_ONCE` at a time."""
        remaining = iter(items)

        async def work() -> None:
            for item in remaining:
                await act(item)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())

"""Random histories of a few wallets, made by the real writers, and what their splits must be at any instant.

The model knows when money was locked or held and until when. It looks neither at releases and expiries in the ledger,
nor at locks, nor at the splits that rows say.
"""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg

from db.ledger import Ledger
from db.releases import release_matured
from db.statements import Split
from db.withdrawals import Withdrawals
from tests.integration.db.conftest import accepted, charge, hold, transfer, withdraw
from wallet.errors import TryLater, WalletError
from wallet.follow_up_commands import CaptureHold, FollowUp, ReverseCharge, ReverseTransfer, VoidHold
from wallet.ids import instant_of
from wallet.outcomes import Declined, Paid, Returned

USERS = ("ann", "bob", "cid")


class History:
    """Does something at random, again and again."""

    def __init__(
        self, ledger: Ledger, withdrawals: Withdrawals, connection: asyncpg.Connection, seed: int
    ) -> None:
        self.ledger = ledger
        self.withdrawals = withdrawals
        self.connection = connection
        self.random = random.Random(seed)
        self.releasing = asyncio.Lock()
        self.charges: list[UUID] = []
        self.transfers: list[UUID] = []
        self.holds: list[UUID] = []
        self.open: list[tuple[UUID, str]] = []
        self.paid: list[tuple[Any, str]] = []

    async def step(self) -> None:
        """Do one thing; what is refused moves nothing."""
        actions = [self.charge] * 4 + [self.transfer, self.hold, self.withdraw] * 2
        actions += [self.capture, self.void, self.reverse, self.move, self.release]
        try:
            await self.random.choice(actions)()
        except TryLater:
            raise
        except WalletError:
            pass

    async def pause(self) -> None:
        """Let time pass, or none: locks mature, and instants differ."""
        await asyncio.sleep(self.random.choice((0, 0, 0.005, 0.03)))

    def later(self) -> datetime | None:
        """Return no time, one that comes soon, or one that does not come in the test."""
        soon = self.random.choice((None, 0.02, 0.1, 0.4, 3600))
        return (
            None
            if soon is None
            else datetime.now(UTC) + timedelta(seconds=soon * self.random.uniform(0.5, 1))
        )

    def user(self) -> str:
        return self.random.choice(USERS)

    def amount(self) -> int:
        return self.random.randint(1, 60)

    async def charge(self) -> None:
        """Charge, also several at once: they are in one batch, and have one instant."""
        commands = [
            charge(self.amount(), user=self.user(), release_at=self.later())
            for _ in range(self.random.choice((1, 1, 5)))
        ]
        results = await asyncio.gather(*map(self.ledger.submit, commands), return_exceptions=True)
        self.charges += [one.receipt.id for one in results if not isinstance(one, BaseException)]

    async def transfer(self) -> None:
        """Pay one or two others, or the same one twice."""
        payer = self.user()
        payees = [self.random.choice([user for user in USERS if user != payer]) for _ in range(2)]
        legs = [(user, self.amount()) for user in payees[: self.random.choice((1, 2))]]
        self.transfers.append(await accepted(self.ledger, transfer(payer, *legs, release_at=self.later())))

    async def hold(self) -> None:
        """Set money aside."""
        command = hold(self.amount(), user=self.user(), expires_at=self.later())
        self.holds.append(await accepted(self.ledger, command))

    async def withdraw(self) -> None:
        """Reserve money for the bank."""
        user = self.user()
        self.open.append((await accepted(self.ledger, withdraw(self.amount(), user=user)), user))

    async def capture(self) -> None:
        """Capture a hold, in whole or in part."""
        if self.holds:
            id, key, user = self.random.choice(self.holds), uuid4().hex, self.user()
            legs = transfer("x", (user, self.amount()), release_at=self.later()).legs
            whole = CaptureHold("shop", key, id, (), user, self.later())
            await self._follow_up(self.random.choice((whole, CaptureHold("shop", key, id, legs))))

    async def void(self) -> None:
        """Void a hold."""
        if self.holds:
            await self._follow_up(VoidHold(self.random.choice(self.holds)))

    async def reverse(self) -> None:
        """Take back a charge or a transfer, in whole or in part."""
        amount = self.random.choice((None, 1, 7))
        if self.charges and self.random.random() < 0.5:
            await self._follow_up(
                ReverseCharge("shop", uuid4().hex, self.random.choice(self.charges), amount)
            )
        elif self.transfers:
            id = self.random.choice(self.transfers)
            legs = () if amount is None else ((1, amount),)
            await self._follow_up(ReverseTransfer("shop", uuid4().hex, id, legs))

    async def _follow_up(self, command: FollowUp) -> None:
        await self.ledger.follow_up(command)

    async def move(self) -> None:
        """Let a withdrawal go on: cancelled, paid, declined, returned."""
        if self.paid and self.random.random() < 0.3:
            attempt, _ = self.paid.pop()
            await self.withdrawals.settle(attempt, Returned("p", attempt.amount))
        elif self.open:
            id, user = self.open.pop(self.random.randrange(len(self.open)))
            what = self.random.choice(("cancel", "pay", "decline"))
            if what == "cancel":
                await self.withdrawals.cancel(id)
                return
            attempt = await self.withdrawals.begin_attempt(id, user)
            assert attempt is not None
            await self.withdrawals.settle(attempt, Paid("p") if what == "pay" else Declined("no"))
            if what == "pay":
                self.paid.append((attempt, user))

    async def release(self) -> None:
        """Write some releases that are due, as the reconciler does."""
        async with self.releasing:
            await release_matured(self.connection, wallets_max=2)


class Lock(NamedTuple):
    """Money that is locked or held from one instant to another."""

    account: str
    start: datetime
    end: datetime | None
    amount: int
    taken: list[tuple[datetime, int]]
    """What was taken out of it meanwhile."""


class Model:
    """What the split of a wallet was at any instant."""

    def __init__(self, effects: list[tuple[datetime, int]], locks: list[Lock]) -> None:
        self._effects = effects
        self._locks = locks

    @property
    def instants(self) -> list[datetime]:
        """All instants at which something changes."""
        found = {at for at, _ in self._effects}
        for lock in self._locks:
            found |= {lock.start, *(at for at, _ in lock.taken), *([lock.end] if lock.end else [])}
        return sorted(found)

    def at(self, instant: datetime) -> Split:
        """Return the split after all that counts up to this instant."""
        total = sum(amount for at, amount in self._effects if at <= instant)
        sums = {"locked": 0, "held": 0}
        for lock in self._locks:
            if lock.start <= instant and (lock.end is None or instant < lock.end):
                taken = sum(amount for at, amount in lock.taken if at <= instant)
                sums[lock.account] += lock.amount - taken
        return Split(total - sums["locked"] - sums["held"], sums["locked"], sums["held"])


async def model_of(connection: asyncpg.Connection, user: str) -> Model:
    """Return the model of a wallet, from what was asked for and when it took effect."""
    rows = await connection.fetch("select * from transfers where user_id = $1", user)
    effects, locks = [], {}
    for row in rows:
        at = instant_of(row["id"])
        if row["debit_account"] in ("funding", "peer", "bank"):
            effects.append((at, row["amount"]))
        elif row["credit_account"] in ("funding", "peer", "bank"):
            effects.append((at, -row["amount"]))
        if row["release_at"] is not None:
            end = max(row["release_at"], at)
            locks[row["id"]] = Lock("locked", at, end, row["amount"], [])
    sources = {row["reference"]: row["reference"] for row in rows if row["kind"] == "reversal"}
    for row in await connection.fetch(
        "select r.send_id, l.receive_id from reversal_legs as r join reversals as v on v.id = r.reversal_id"
        " join transfer_legs as l on l.transfer_id = v.reverses and l.leg = r.leg"
    ):
        sources[row["send_id"]] = row["receive_id"]
    for row in rows:
        source = sources.get(row["reference"] if row["kind"] == "reversal" else row["id"])
        if row["debit_account"] == "locked" and row["kind"] != "release":
            locks[source].taken.append((instant_of(row["id"]), row["amount"]))
    ends = {row["reference"]: instant_of(row["id"]) for row in rows if row["kind"] in ("payout", "refund")}
    held = [
        Lock("held", instant_of(row["id"]), ends.get(row["id"]), row["amount"], [])
        for row in rows
        if row["kind"] == "reserve"
    ]
    for row in await connection.fetch("select * from holds where user_id = $1", user):
        start = instant_of(row["id"])
        end = row["expires_at"] and max(row["expires_at"], start)
        if row["status"] == "captured":
            end = instant_of(row["transfer_id"])
        elif row["status"] == "voided":
            end = next(
                instant_of(one["id"])
                for one in rows
                if (one["kind"], one["reference"]) == ("void", row["id"])
            )
        held.append(Lock("held", start, end, row["amount"], []))
    return Model(effects, [*locks.values(), *held])

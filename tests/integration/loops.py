"""The loops that live as long as their process, each with a piece of work that needs every statement it has.

A loop reaches the database through a proxy that may say anything; what it works on is prepared by a direct way.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from uuid import UUID, uuid4

from actors import messages
from actors.bank.protocol import BooksPage
from actors.reconciler import Reconciler
from actors.reconciliation import BankComparison
from actors.relay import Relay
from db import reads
from db.connections import Reader, understood
from db.heartbeats import beat_for_ever, forget_old
from db.ledger import Ledger
from db.lists import EVER
from db.outbox import Outbox, OutboxNotifier
from db.reconciliation import ReconcilerSession
from db.statements import Split
from db.withdrawals import Withdrawals
from gateway.contract.parameters import BEGINNING
from gateway.long_poll import LongPoll
from gateway.reads import Reads
from runtime.activity import ACTIVITY
from tests.integration.db.conftest import charge, hold, transfer, withdraw
from tests.integration.event_loops import Couriers, EventReads
from tests.integration.loop import NOTICED_WITHIN_S, Loop, NotYet, new_user, noticed
from tests.locks import in_an_hour
from wallet.adjustments import Adjust
from wallet.commands import Leg
from wallet.errors import InsufficientFunds, TryLater, ValidationFailed, WithdrawalNotFound
from wallet.follow_up_commands import CaptureHold, ReverseCharge, ReverseTransfer, VoidHold
from wallet.outcomes import OutcomeUnknown, Paid, Returned
from wallet.positions import position_at

_pages = itertools.count(1)


class Ledgers(Loop):
    """The writer of charges and withdrawals, optimistically and under locks."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.ledger = Ledger(self.settings, self.tasks)
        self.ledger.start()
        yield
        await self.ledger.stop()

    async def work(self) -> None:
        user, payee = new_user(), new_user()
        await self._write(charge(1, user=payee), locking=False)
        first = charge(20, user=user)
        locked = charge(5, user=user, release_at=in_an_hour())
        await self._write(first, locking=False)
        for locking in (False, True):
            await self._write(charge(1, user=user), locking)
            await self._write(charge(1, user=user, release_at=in_an_hour()), locking)
            await self._write(withdraw(1, user=user), locking)
            await self._write(transfer(user, (new_user(), 1), release_at=in_an_hour()), locking)
            await self._write(transfer(user, (new_user(), 1)), locking)
            await self._write(transfer(user, (payee, 1)), locking)
            await self._write(hold(1, user=user, expires_at=in_an_hour()), locking)
            await self._write(hold(1, user=user), locking)
        await self._write(locked, locking=True)
        assert (await self.ledger.submit(first)).replayed
        self.ledger._locking_batches = 0
        others = (charge(1, user=new_user()), *(charge(1, user=user) for _ in range(8)))
        refused = self.ledger.submit(withdraw(1_000_000, user=new_user()))
        for result in await asyncio.gather(*map(self.ledger.submit, others), return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
        with suppress(InsufficientFunds):
            await refused
        await self.direct.matured(user, 7)
        await self._write(withdraw(7, user=user), locking=True)
        await self._write(withdraw(1, user=user), locking=True)

    async def _write(self, command: object, locking: bool) -> None:
        self.ledger._locking_batches = 8 if locking else 0
        await self.ledger.submit(command)  # type: ignore[arg-type]


class FollowUps(Ledgers):
    """The writer of captures, voids and reversals."""

    async def work(self) -> None:
        user, payee = new_user(), new_user()
        submit, follow_up = self.direct.ledger.submit, self.ledger.follow_up
        charged = await submit(charge(20, user=user))
        locked = await submit(charge(9, user=user, release_at=in_an_hour()))
        held = [await submit(hold(2, user=user, expires_at=in_an_hour())) for _ in range(2)]
        lasting = await submit(hold(1, user=user))
        sent = await submit(transfer(user, (payee, 4)))
        locked_leg = await submit(transfer(user, (payee, 4), release_at=in_an_hour()))
        capture = CaptureHold("shop", uuid4().hex, held[0].receipt.id, (Leg(new_user(), 1),))
        await follow_up(capture)
        assert (await follow_up(capture)).replayed
        await follow_up(CaptureHold("shop", uuid4().hex, lasting.receipt.id, (Leg(payee, 1),)))
        await follow_up(Adjust("shop", uuid4().hex, user, "USD", 1, "goodwill", "eve"))
        await follow_up(VoidHold(held[1].receipt.id))
        for amount in (4, None):
            await follow_up(ReverseCharge("shop", uuid4().hex, locked.receipt.id, amount))
            await follow_up(ReverseTransfer("shop", uuid4().hex, locked_leg.receipt.id, (), amount and 1))
        await follow_up(ReverseTransfer("shop", uuid4().hex, sent.receipt.id))
        await self.direct.matured(user, 7)
        await follow_up(ReverseCharge("shop", uuid4().hex, charged.receipt.id))
        for balance in ("available", "locked", "held"):
            assert isinstance(await self._balance(user, balance), int)

    async def _balance(self, user: str, name: str) -> object:
        return await self.direct.connection.fetchval(f"select {name} from wallets where user_id = $1", user)


class LimitedLedgers(Ledgers):
    """The same writer, where open locks and holds are limited; and holds that expire."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.ledger = Ledger(replace(self.settings, max_open_locks=1_000, max_open_holds=1_000), self.tasks)
        self.ledger.start()
        yield
        await self.ledger.stop()

    async def work(self) -> None:
        user = new_user()
        await self._write(charge(9, user=user), locking=False)
        await self._write(charge(1, user=user, release_at=in_an_hour()), locking=False)
        await self._write(hold(9, user=user, expires_at=in_an_hour()), locking=False)
        await self.direct.matured(user, 1)
        await self._write(withdraw(11, user=user), locking=True)


class HeldWallets(Ledgers):
    """The same writer, while another session holds one wallet."""

    async def work(self) -> None:
        held, free = new_user(), new_user()
        for user in (held, free):
            await self.direct.ledger.submit(charge(1, user=user))
        async with self.direct.connection.transaction():
            await self.direct.connection.fetch("select 1 from wallets where user_id = $1 for update", held)
            results = await asyncio.gather(
                *(self.ledger.submit(charge(1, user=user)) for user in (held, free)), return_exceptions=True
            )
        assert isinstance(results[0], TryLater | ValidationFailed), results
        if isinstance(results[1], BaseException):
            raise results[1]


class Begins(Loop):
    """The writer of attempts."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.withdrawals = Withdrawals(self.settings, self.tasks)
        self.withdrawals.start()
        yield
        await self.withdrawals.stop()

    async def work(self) -> None:
        if await self.withdrawals.begin_attempt(*await self.direct.withdrawal()) is None:
            raise NotYet  # a row that makes no sense is not taken for an attempt


class Transitions(Begins):
    """The writer of transitions: in one statement, and each decided."""

    async def work(self) -> None:
        attempts = [await self.direct.attempt() for _ in range(3)]
        pending, _ = await self.direct.withdrawal()
        await self.withdrawals.settle(attempts[0], Paid("p"))
        await self.withdrawals.settle(attempts[1], OutcomeUnknown("silence"), took_ms=3)
        await self.withdrawals.cancel(pending)
        third = attempts[2]
        # Money that came back before anybody heard that it had been paid.
        results = await asyncio.gather(
            self.withdrawals.settle(third, OutcomeUnknown("silence")),
            self.withdrawals.settle(third, Returned("p3", third.amount)),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result


class HeldWithdrawals(Begins):
    """The same writers, while another session holds one withdrawal."""

    async def work(self) -> None:
        held, free = await self.direct.withdrawal(), await self.direct.withdrawal()
        async with self.direct.connection.transaction():
            await self.direct.connection.fetch("select 1 from withdrawals where id = $1 for update", held[0])
            results = await asyncio.gather(
                *(self.withdrawals.begin_attempt(*one) for one in (held, free)), return_exceptions=True
            )
        assert isinstance(results[0], TryLater | ValidationFailed | None), results
        if isinstance(results[1], BaseException):
            raise results[1]
        if results[1] is None:
            raise NotYet


class HeldMoves(Begins):
    """The writer of transitions, while another session holds one wallet."""

    async def work(self) -> None:
        (held, user), (free, _) = await self.direct.withdrawal(), await self.direct.withdrawal()
        async with self.direct.connection.transaction():
            await self.direct.connection.fetch("select 1 from wallets where user_id = $1 for update", user)
            results = await asyncio.gather(
                *(self.withdrawals.cancel(one) for one in (held, free)), return_exceptions=True
            )
        assert isinstance(results[0], TryLater | ValidationFailed | WithdrawalNotFound), results
        if isinstance(results[1], BaseException):
            raise results[1]


class Queries(Loop):
    """What the gateway reads, balances together."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.reads = Reads(self.settings, self.tasks)
        self.reads.start()
        self.reader = Reader(self.settings.database, 1)
        yield
        await self.reads.stop()
        self.reader.terminate()

    async def work(self) -> None:
        id, user = await self.direct.withdrawal()
        key = await self.direct.connection.fetchval(
            "select key from idempotency_keys where movement_id = $1", id
        )
        assert isinstance((await self.reads.known_before(user, "USD", "shop", key)).wallet, bool)
        balance = await self.reads.balance(user, "USD")
        assert isinstance(balance, reads.Balance)
        await self.reads.transactions((user, "USD"), EVER, 10, 0, None, None)
        await self.reads.transactions((new_user(), "USD"), EVER, 10, 0, None, None)
        await self.reads.transactions((user, "USD"), EVER, 10, 1, "withdrawal", None)
        await self.reads.withdrawal(id)
        charged = await self.direct.ledger.submit(charge(3, user=user))
        sent = await self.direct.ledger.submit(transfer(user, (new_user(), 1)))
        held = await self.direct.ledger.submit(hold(1, user=user))
        assert (await self.reads.charge(charged.receipt.id)).reversed == 0
        assert (await self.reads.transfer(sent.receipt.id)).reversed == 0
        assert (await self.reads.hold(held.receipt.id)).status == "open"
        await self.reads.withdrawal_by_key("shop", key)
        await self.reads.health()
        await understood(reads.requiring_attention, self.reader)


class Lists(Queries):
    """What the gateway lists, and statements."""

    async def work(self) -> None:
        user = new_user()
        wallet = (user, "USD")
        commands = (
            charge(9, user=user),
            transfer(user, (new_user(), 1)),
            hold(1, user=user),
            withdraw(1, user=user),
        )
        keys = [command.key for command in commands]
        for command in commands:
            await self.direct.ledger.submit(command)
        await self.reads.charge_by_key("shop", keys[0])
        if await self.reads.currencies(user) != ["USD"]:
            raise NotYet
        for status in (None, "open"):
            for one in (wallet, None):
                await self.reads.holds(one, EVER, 10, status)
        for status in (None, "pending", "completed"):
            for one in (wallet, None):
                await self.reads.withdrawals(one, EVER, 10, status)
        await self.reads.charges(wallet, EVER, 10)
        await self.reads.transfers(wallet, EVER, 10, None)
        await self.reads.settled((new_user(), "USD"))
        end = await self.reads.settled(wallet)
        assert await self.reads.archived_before(wallet) is None
        opening = await self.reads.split(wallet, position_at(BEGINNING)) or Split()
        found = await self.reads.entries(wallet, position_at(BEGINNING), end, opening, 10)
        assert len(found.items) <= 10


class Watcher(Loop):
    """Who waits for an end state is woken."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.reads = Reads(self.settings, self.tasks)
        self.watcher = LongPoll(self.reads.ended, self.tasks, interval_s=0.01)
        self.watcher.start()
        yield
        await self.watcher.stop()
        await self.reads.stop()

    async def work(self) -> None:
        id, _ = await self.direct.withdrawal()
        waiting = asyncio.create_task(self.watcher.wait(id, 60))
        await self.direct.withdrawals.cancel(id)
        await asyncio.wait([waiting], timeout=NOTICED_WITHIN_S)
        if not waiting.done():
            waiting.cancel()
            raise NotYet


class Publisher:
    """Takes every message."""

    is_open = True
    is_blocked = False
    other_queues = ()

    def __init__(self, taken: set[UUID]) -> None:
        self._taken = taken

    async def message_count(self, queue: str) -> int:
        """Count nothing: it is empty."""
        return 0

    async def publish(self, queue: str, bodies: Sequence[bytes], timeout_s: float) -> list[bool]:
        self._taken |= {id for body in bodies if (id := messages.withdrawal_id_of(body)) is not None}
        return [True] * len(bodies)

    async def wait_until_flowing(self, timeout_s: float) -> None:
        """It always flows."""

    async def close(self) -> None:
        """Nothing to close."""


class Relays(Loop):
    """Messages go from the outbox to the queue, and a notification tells of them."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.taken: set[UUID] = set()

        async def connect() -> Publisher:
            return Publisher(self.taken)

        stop = asyncio.Event()
        relay = Relay(Outbox(self.settings.database), connect)
        running = self.tasks.start("relay", lambda: relay.run(stop), ends_when=stop.is_set)
        yield
        stop.set()
        relay.wake()
        assert await running.ended(30)

    async def work(self) -> None:
        id, _ = await self.direct.withdrawal()
        await noticed(lambda: id in self.taken)


class OutboxNotifiers(Loop):
    """Notifies the relays."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.heard = asyncio.Event()
        await self.direct.connection.add_listener("outbox", self._hear)
        self.notifier = OutboxNotifier(self.settings.database, self.tasks)
        self.notifier.start()
        yield
        await self.notifier.stop()
        await self.direct.connection.remove_listener("outbox", self._hear)

    def _hear(self, *_: object) -> None:
        self.heard.set()

    async def work(self) -> None:
        self.heard.clear()
        self.notifier.notify()
        await noticed(self.heard.is_set)


class Heartbeats(Loop):
    """A process says that it lives."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.seen = "nothing"
        self.reader = Reader(self.settings.database, 1)
        beating = self.tasks.start(
            "heartbeat", partial(beat_for_ever, self.reader, "relay", lambda: {"seen": self.seen})
        )
        yield
        await beating.stop()
        self.reader.terminate()

    async def work(self) -> None:
        self.seen = new_user()
        ACTIVITY.count("charge")

        async def written() -> bool:
            detail = await self.direct.connection.fetchval("select detail from heartbeats")
            return detail is not None and self.seen in detail

        await noticed(written)
        await forget_old(self.reader)


class EmptyBank:
    """A bank that paid nothing, whose books have another page each time."""

    async def read_books(self, after: str | None) -> BooksPage:
        return BooksPage([], str(next(_pages)), more=False)


class Reconcilers(Loop):
    """Announces withdrawals again, releases matured locks, reads the bank's books."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        session = ReconcilerSession(self.settings)
        withdrawals = Withdrawals(self.settings, self.tasks)
        self.reader = Reader(self.settings.database, 1)
        self.reconciler = Reconciler(
            session,
            BankComparison(EmptyBank(), session, withdrawals),  # type: ignore[arg-type]
            self.reader,
            broker=self.settings.broker,
            interval_ms=self.settings.reconcile_interval_ms,
        )
        stop = asyncio.Event()
        running = self.tasks.start("reconciler", lambda: self.reconciler.run(stop), ends_when=stop.is_set)
        yield
        stop.set()
        assert await running.ended(30)
        self.reader.terminate()

    async def work(self) -> None:
        connection = self.direct.connection
        id, user = await self.direct.withdrawal()
        await self.direct.matured(user, 3)
        cursor = await connection.fetchval("select after from bank_cursor")
        await connection.execute("delete from outbox")
        await connection.execute("update withdrawals set ring_at = now() where id = $1", id)

        async def done() -> bool:
            locked = await connection.fetchval("select locked from wallets where user_id = $1", user)
            announced = await connection.fetchval("select count(*) from outbox where withdrawal_id = $1", id)
            followed = cursor != await connection.fetchval("select after from bank_cursor")
            return bool(locked == 0 and announced == 1 and followed)

        await noticed(done)


LOOPS: list[type[Loop]] = [
    Ledgers,
    FollowUps,
    LimitedLedgers,
    HeldWallets,
    Begins,
    Transitions,
    HeldWithdrawals,
    HeldMoves,
    Queries,
    Lists,
    EventReads,
    Watcher,
    Relays,
    OutboxNotifiers,
    Heartbeats,
    Reconcilers,
    Couriers,
]

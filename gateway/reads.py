"""Reads of the database. Their number is limited: beyond it a read is refused at once, so that no queue grows."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from db import events, heartbeats, lists, reads, reconciliation, statements, transfer_reads
from db.connections import Reader, not_understood, understood
from db.errors import MalformedAnswer
from db.events import EventPage
from db.events import Span as EventSpan
from db.group_read import GroupRead
from db.heartbeats import Heartbeat, beat_for_ever
from db.lists import Page, Span
from db.reads import AskedPage, Balance, KnownBefore, TransactionPage, WithdrawalView
from db.statements import Entries, Split
from db.transfer_reads import ChargeView, TransferView
from db.write_trial import late_withdrawals
from gateway.event_feed import EventFilter
from runtime.settings import Settings
from runtime.tasks import SupervisedTasks
from wallet.errors import ChargeNotFound, HoldNotFound, Overloaded, TransferNotFound
from wallet.ledger import WalletId
from wallet.positions import Position
from wallet.receipts import HoldReceipt
from wallet.user_ids import spelling

READS_MAX = 512
"""Reads under way at once, per process. At some thousand reads per second, the last of them waits 0.25 s."""

Result = TypeVar("Result")
Stated = TypeVar("Stated", HoldReceipt, WithdrawalView)

Listed = tuple[list[Result], UUID | None]
"""A page of a list, newest first, and the position that the next page begins before; None if nothing is left."""

PAGES_MAX = 32
"""Pages of transactions per query, of 100 rows at most each."""

LATE_S = 60.0
"""A withdrawal that has not ended within this time is late."""


class HealthFacts(NamedTuple):
    """Facts about the whole service that the database knows."""

    queue_length: int
    heartbeats: list[Heartbeat]
    paused_reason: str | None
    """Why payouts are paused; None if they are not."""
    is_late: bool
    """Whether a withdrawal that the bank has not accepted waits for longer than LATE_S (never during a pause)."""


class Reads:
    """The questions of the gateway to the database. All raise Unavailable and Overloaded."""

    def __init__(self, settings: Settings, tasks: SupervisedTasks) -> None:
        self._reader = Reader(settings.database, settings.db_pool_size)
        self._balance_reader = Reader(settings.database, 1)
        self._tasks = tasks
        self._spell = spelling(settings.user_ids)
        self._under_way = 0
        self._balances: GroupRead[WalletId, Balance] = GroupRead(
            "balances",
            partial(reads.balances, self._balance_reader),
            tasks,
            linger_us=settings.batch_linger_us,
        )
        self._page_reader = Reader(settings.database, 1)
        self._pages: GroupRead[AskedPage, TransactionPage | MalformedAnswer] = GroupRead(
            "transactions",
            partial(reads.pages, self._page_reader),
            tasks,
            linger_us=settings.batch_linger_us,
            keys_max=PAGES_MAX,
            awaited=0.5,
        )

    def start(self) -> None:
        """Begin to read; needs a running event loop, no server yet."""
        self._balances.start()
        self._pages.start()
        self._tasks.start("heartbeat", partial(beat_for_ever, self._reader, "gateway", dict))

    async def stop(self) -> None:
        """Close the connections at once: no request waits for an answer any more."""
        await self._balances.stop()
        await self._pages.stop()
        self._balance_reader.terminate()
        self._page_reader.terminate()
        self._reader.terminate()

    @property
    def connections(self) -> tuple[int, int]:
        """Connections for reads: (in use, idle). Those of balances and of pages of transactions are not counted."""
        return self._reader.connections

    def balance(self, user_id: str, currency: str) -> Awaitable[Balance]:
        """Return the split of a wallet; zeros for an unknown one."""
        return self._balances.get((user_id, currency))

    async def transactions(
        self, wallet: WalletId, span: Span, limit: int, skip: int | None, kind: str | None, status: str | None
    ) -> TransactionPage:
        """Return a page of a wallet's transactions, newest first. What has no filter is read together with others.

        `skip` is the number of transactions before a numbered page; None: it is not one.
        """
        if not skip and kind is None and status is None:
            self._begin()
            try:
                page = await self._pages.get(AskedPage(wallet, span, limit))
            finally:
                self._under_way -= 1
            if isinstance(page, MalformedAnswer):
                raise not_understood(page) from page
            if skip is None or page.next is None or len(page.items) == limit:
                return page  # else it ended early, and page 2 would begin behind what it has left out
        return await self._run(
            reads.transactions, wallet, limit=limit, span=span, skip=skip, kind=kind, status=status
        )

    async def withdrawal(self, id: UUID) -> WithdrawalView:
        """Return a withdrawal as it is now. Raises WithdrawalNotFound."""
        return await self._run(reads.withdrawal, id)

    async def withdrawal_by_key(self, space: str, key: str) -> WithdrawalView:
        """Return the withdrawal that was made with this key of this space. Raises WithdrawalNotFound."""
        return await self._run(reads.withdrawal_by_key, space, key)

    async def charge(self, id: UUID) -> ChargeView:
        """Return a charge as it is now. Raises ChargeNotFound."""
        return await self._run(transfer_reads.charge, id)

    async def transfer(self, id: UUID) -> TransferView:
        """Return a transfer as it is now. Raises TransferNotFound."""
        return await self._run(transfer_reads.transfer, id)

    async def hold(self, id: UUID) -> HoldReceipt:
        """Return a hold as it is now. Raises HoldNotFound."""
        return await self._run(transfer_reads.hold, id)

    async def charge_by_key(self, space: str, key: str) -> ChargeView:
        """Return the charge that was made with this key of this space. Raises ChargeNotFound."""
        id = await self._run(lists.by_key, space, key, ("charge",))
        if id is None:
            raise ChargeNotFound("no charge was made under this idempotency key")
        return await self.charge(id)

    async def transfer_by_key(self, space: str, key: str) -> TransferView:
        """Return the transfer that was made with this key of this space. Raises TransferNotFound."""
        id = await self._run(lists.by_key, space, key, ("send", "capture"))
        if id is None:
            raise TransferNotFound("no transfer was made under this idempotency key")
        return await self.transfer(id)

    async def hold_by_key(self, space: str, key: str) -> HoldReceipt:
        """Return the hold that was made with this key of this space. Raises HoldNotFound."""
        id = await self._run(lists.by_key, space, key, ("hold",))
        if id is None:
            raise HoldNotFound("no hold was made under this idempotency key")
        return await self.hold(id)

    async def charges(self, wallet: WalletId, span: Span, limit: int) -> Listed[ChargeView]:
        """Return a page of a wallet's charges, newest first."""
        page: Page = await self._run(lists.charges, wallet, span, limit)
        return await self._objects(transfer_reads.charges, page)

    async def transfers(
        self, wallet: WalletId, span: Span, limit: int, type: str | None
    ) -> Listed[TransferView]:
        """Return a page of the transfers that a wallet has `sent`, `received`, or (None) both, newest first."""
        page: Page = await self._run(lists.transfers, wallet, span, limit, type)
        return await self._objects(transfer_reads.transfers, page)

    async def holds(
        self, wallet: WalletId | None, span: Span, limit: int, status: str | None
    ) -> Listed[HoldReceipt]:
        """Return a page of a wallet's holds, or (None) of all, newest first."""
        page: Page = await self._run(lists.holds, wallet, span, limit, status)
        found = await self._objects(transfer_reads.holds, page)
        return _of_status(found, status)

    async def withdrawals(
        self, wallet: WalletId | None, span: Span, limit: int, status: str | None
    ) -> Listed[WithdrawalView]:
        """Return a page of a wallet's withdrawals, or (None) of all, newest first."""
        page: Page = await self._run(lists.withdrawals, wallet, span, limit, status)
        found = await self._objects(reads.withdrawals, page)
        return _of_status(found, status)

    async def currencies(self, user_id: str) -> list[str]:
        """Return the currencies that a user has wallets in."""
        return await self._run(statements.currencies, user_id)

    async def present(self) -> datetime:
        """Return the present: whatever is written to wallets that are not there yet is later."""
        return await self._run(statements.present)

    async def settled(self, wallet: WalletId) -> datetime:
        """Return the present: before it, nothing will be written to the wallet any more."""
        return await self._run(statements.settled, wallet)

    async def archived_before(self, wallet: WalletId) -> datetime | None:
        """Return the instant from which on the wallet's books are whole; None: nothing of it is archived."""
        return await self._run(statements.archived_before, wallet)

    async def split(self, wallet: WalletId, position: Position) -> Split | None:
        """Return the split of a wallet at a position before the present; None: it was not there yet."""
        return await self._run(statements.split, wallet, position)

    async def entries(
        self, wallet: WalletId, start: Position, end: datetime, opening: Split, limit: int
    ) -> Entries:
        """Return entries of a wallet's statement from a position on, where the split is `opening`."""
        return await self._run(statements.entries, wallet, start, end, opening, limit)

    async def event_span(self) -> EventSpan:
        """Return which events can be read."""
        return await self._run(events.span)

    async def event_page(self, after: int, limit: int, which: EventFilter) -> EventPage:
        """Return events after a number, in their order."""
        return await self._run(events.page, after, limit, **which._asdict(), spell=self._spell)

    async def known_before(self, user_id: str, currency: str, *key: str) -> KnownBefore:
        """Return whether the wallet is there, and whether `key` (space, key) was used."""
        return await self._run(reads.known_before, user_id, currency, *key)

    async def ended(self, ids: Sequence[UUID]) -> set[UUID]:
        """Return the given withdrawals that have ended, or go on only when somebody acts."""
        return await self._run(reads.ended, ids)

    async def callback(self, reference: UUID) -> int:
        """Have the bank asked about a withdrawal at once. Return 0 if no withdrawal has this reference.

        The request is committed when this returns, and survives the end of this process.
        """
        return await self._run(reconciliation.told, reference)

    async def ask(self, question: Callable[..., Awaitable[Result]], *arguments: Any) -> Result:
        """Return the answer to an operator's question: a function of `db` that takes a reader first."""
        return await self._run(question, *arguments)

    async def health(self) -> HealthFacts:
        """Return facts about the whole service. To be called once at a time.

        The limit on reads does not apply, so that many reads are not taken for an outage.
        """
        length, beats, (paused, late) = await asyncio.gather(
            understood(reads.queue_length, self._reader),
            understood(heartbeats.heartbeats, self._reader),
            understood(late_withdrawals, self._reader, timedelta(seconds=LATE_S)),
        )
        return HealthFacts(length, beats, paused, late)

    async def _objects(
        self, read: Callable[[Reader, Sequence[UUID]], Awaitable[list[Result]]], page: Page
    ) -> Listed[Result]:
        """Return what a page of identifiers stands for."""
        return (await self._run(read, page.ids) if page.ids else []), page.next

    def _begin(self) -> None:
        if self._under_way >= READS_MAX:
            raise Overloaded("too many reads are under way")
        self._under_way += 1

    async def _run(self, query: Callable[..., Awaitable[Result]], *arguments: Any, **named: Any) -> Result:
        self._begin()
        try:
            return await understood(query, self._reader, *arguments, **named)
        finally:
            self._under_way -= 1


def _of_status(found: Listed[Stated], status: str | None) -> Listed[Stated]:
    """Leave out those that have got another status since the page was found."""
    items, next = found
    return [one for one in items if status is None or one.status == status], next

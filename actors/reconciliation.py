"""Our books against the bank's, a piece at a time: what was paid there and is open here gets settled.

Two readings of the bank's books. *New entries*, from a cursor kept in the database: each is seen once. *The
round*: all entries again from the first to the last, a page a turn, since a payout that the bank sends back
later changes an entry that was read long ago (its callback may have been lost). The complete comparison,
which also names what is missing there, is `wbs reconcile`.
"""

from collections import OrderedDict
from collections.abc import Sequence
from uuid import UUID

from actors.bank.protocol import Bank, BookEntry, CursorUnknown, PayoutOrder
from db.reconciliation import Known, ReconcilerSession
from db.withdrawals import Attempt, Withdrawals
from wallet.errors import IllegalMove, NotReturnable
from wallet.outcomes import Declined, Paid
from wallet.telemetry import RECONCILER_ACTIONS, log
from wallet.withdrawal import Status

PAGES_MAX = 10
"""Pages of new entries in one turn."""

ASKED_MAX = 20
"""Withdrawals requiring attention about which the bank is asked in one turn."""

NAMED_MAX = 10_000
"""Discrepancies remembered as named already, so that each round does not name them all again."""


class BankComparison:
    """Compares in turns. What it can settle by the bank's word it settles, what it can't it names."""

    def __init__(self, bank: Bank, session: ReconcilerSession, withdrawals: Withdrawals) -> None:
        self._bank = bank
        self._session = session
        self._withdrawals = withdrawals
        self._round_cursor: str | None = None
        self._asked_after: UUID | None = None
        self._named: OrderedDict[tuple[str, str], None] = OrderedDict()
        self.settled = 0
        """Withdrawals settled or taken back by the bank's word so far."""

    async def take_turn(self) -> None:
        """Read on a little. Raises `BooksUnreadable`, `db.errors.CONNECTION_ERRORS`, `TryLater`."""
        await self._read_new_entries()
        await self._read_on_in_the_round()
        await self._ask_about_the_stuck()

    async def read_everything(self) -> int:
        """Read the bank's books from the first entry to the last, and ask about all that are stuck.

        Returns how many entries there are. Raises as `take_turn`.
        """
        entries, cursor, more = 0, None, True
        while more:
            page = await self._bank.read_books(cursor)
            await self._compare(page.entries)
            entries += len(page.entries)
            cursor, more = page.cursor, page.more
        self._asked_after = None
        while await self._ask_about_the_stuck():
            pass
        return entries

    async def _read_new_entries(self) -> None:
        cursor = await self._session.bank_cursor()
        for _ in range(PAGES_MAX):
            try:
                page = await self._bank.read_books(cursor)
            except CursorUnknown:
                # Other books than those we read before (a bank set up anew): read them from the start.
                log.error("bank_books_changed", cursor=cursor)
                await self._session.advance_bank_cursor(None)
                raise
            await self._compare(page.entries)
            if page.cursor != cursor:
                await self._session.advance_bank_cursor(page.cursor)
            cursor = page.cursor
            if not page.more:
                return

    async def _read_on_in_the_round(self) -> None:
        try:
            page = await self._bank.read_books(self._round_cursor)
        except CursorUnknown:
            self._round_cursor = None
            raise
        await self._compare(page.entries)
        self._round_cursor = page.cursor if page.more else None

    async def _ask_about_the_stuck(self) -> bool:
        """Ask the bank about some of those that require attention: it may know the answer by now.

        Returns whether there may be more; if not, the next call begins anew.
        """
        stuck = await self._session.requiring_attention(self._asked_after, ASKED_MAX)
        for known in stuck:
            order = PayoutOrder(str(known.id), known.amount, known.currency, known.destination)
            answer = await self._bank.find(order)
            if isinstance(answer, Paid | Declined):
                await self._settle(known, answer)
        self._asked_after = stuck[-1].id if len(stuck) == ASKED_MAX else None
        return self._asked_after is not None

    async def _compare(self, entries: Sequence[BookEntry]) -> None:
        ids = {entry.payout_id: _withdrawal_id(entry) for entry in entries}
        found = await self._session.by_ids([id_ for id_ in ids.values() if id_ is not None])
        for entry in entries:
            id_ = ids[entry.payout_id]
            known = None if id_ is None else found.get(id_)
            if not entry.is_paid:
                continue  # nothing left the bank; what became of the order, the look-up tells
            if known is None:
                self._name("unknown_here", entry)
            elif (entry.amount, entry.currency) != (known.amount, known.currency):
                self._name("different", entry, ours=f"{known.amount} {known.currency}")
            else:
                await self._compare_one(entry, known)

    async def _compare_one(self, entry: BookEntry, known: Known) -> None:
        status = Status(known.status)
        if status in (Status.PROCESSING, Status.REQUIRES_ATTENTION):
            # Often its actor is about to write the same: whoever comes second changes nothing.
            await self._settle(known, Paid(entry.payout_id))
        elif status not in (Status.COMPLETED, Status.RETURNED):
            self._name("paid_but_not_by_us", entry, ours=status.value)
            return
        elif known.bank_reference != entry.payout_id:
            self._name("doubled", entry, ours=known.bank_reference)
            return
        if entry.status == "returned" and status is not Status.RETURNED:
            await self._take_back(entry, known)

    async def _settle(self, known: Known, answer: Paid | Declined) -> None:
        attempt = Attempt(known.id, known.user_id, known.currency, known.amount, None, known.attempts)
        try:
            status = await self._withdrawals.settle(attempt, answer)
        except IllegalMove as error:
            log.error("bank_contradicts_itself", withdrawal_id=known.id, error=str(error))
            return
        self.settled += 1
        RECONCILER_ACTIONS.labels("settled").inc()
        log.info("settled_by_the_bank", withdrawal_id=known.id, user_id=known.user_id, status=status)

    async def _take_back(self, entry: BookEntry, known: Known) -> None:
        try:
            await self._withdrawals.return_(known.id, entry.payout_id, entry.amount, entry.currency)
        except (NotReturnable, IllegalMove) as error:
            self._name("not_returnable", entry, ours=str(error))
            return
        self.settled += 1
        RECONCILER_ACTIONS.labels("returned").inc()
        log.info("returned_by_the_bank", withdrawal_id=known.id, user_id=known.user_id)

    def _name(self, discrepancy: str, entry: BookEntry, ours: str | None = None) -> None:
        """Say once what does not agree. Nothing is changed: which side is wrong, a person must find out."""
        key = (discrepancy, entry.payout_id)
        if key in self._named:
            return
        self._named[key] = None
        if len(self._named) > NAMED_MAX:
            self._named.popitem(last=False)
        RECONCILER_ACTIONS.labels(f"named_{discrepancy}").inc()
        log.error(
            "books_disagree",
            discrepancy=discrepancy,
            reference=entry.reference,
            payout_id=entry.payout_id,
            bank=f"{entry.amount} {entry.currency} {entry.status}",
            ours=ours,
        )


def _withdrawal_id(entry: BookEntry) -> UUID | None:
    try:
        return UUID(entry.reference)
    except ValueError:
        return None

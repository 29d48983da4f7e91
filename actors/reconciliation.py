"""Our books against the bank's, a piece at a time: what does not agree is looked up, or named.

Two readings of the bank's books. *New entries*, from a cursor kept in the database: each is seen once. *The
round*: all entries again from the first to the last, a page a turn, since a payout that the bank sends back
later changes an entry that was read long ago (its callback may have been lost). The complete comparison,
which also names what is missing there, is `wbs reconcile`.
"""

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from actors.bank.books import pages_of
from actors.bank.protocol import Bank, BookEntry, BooksPage, CursorUnknown
from actors.look_ups import Discrepancies, LookUps
from db.reconciliation import ReconcilerSession, WithdrawalRow
from db.withdrawals import Withdrawals
from runtime.telemetry import log
from wallet.outcomes import is_check
from wallet.withdrawal import OPEN_STATES, Status

OnUnknown = Callable[[Sequence[BookEntry]], Awaitable[None]]

_REFERENCE_LENGTH, _PREFIX_LENGTH = 32, 8

PAGES_MAX = 10
"""Pages of new entries in one turn."""


class BankComparison:
    """Compares in turns. What the bank's word may settle is looked up, what it can't is named."""

    def __init__(
        self,
        bank: Bank,
        session: ReconcilerSession,
        withdrawals: Withdrawals,
        our_codes: frozenset[str] = frozenset(),
    ) -> None:
        self._bank = bank
        self._session = session
        self._round_cursor: str | None = None
        self.discrepancies = Discrepancies()
        self.on_unknown: OnUnknown | None = None
        """Called with new entries that are ours by their reference, and that we never sent."""
        self.unknown = 0
        """How many there were of these."""
        self.look_ups = LookUps(bank, session, withdrawals, self.discrepancies, our_codes)

    async def take_turn(self) -> None:
        """Read on a little. Raises `BooksUnreadable`, `db.errors.CONNECTION_ERRORS`."""
        await self.look_ups.ask_about_the_stuck()
        await self.read_new_entries()
        await self._read_on_in_the_round()

    async def read_everything(self) -> int:
        """Read the bank's books from the first entry to the last, and ask about all that are open.

        Returns how many entries there are. Raises as `take_turn`.
        """
        entries = 0
        async for page in pages_of(self._bank):
            await self._compare(page)
            while await self.look_ups.work_off():
                pass
            entries += len(page.entries)
        while await self.look_ups.ask_about_the_stuck():
            pass
        return entries

    async def read_new_entries(self) -> bool:
        """Read what is new in the bank's books, some pages at most. Returns whether all of it was read."""
        cursor = await self._session.bank_cursor()
        for _ in range(PAGES_MAX):
            try:
                page = await self._bank.read_books(cursor)
            except CursorUnknown:
                # Other books than those we read before (a bank set up anew): read them from the start.
                log.error("bank_books_changed", cursor=cursor)
                await self._session.advance_bank_cursor(None)
                raise
            lost = await self._compare(page)
            if lost and self.on_unknown is not None:
                # Said before the cursor moves on: what is behind it is not new any more.
                self.unknown += len(lost)
                await self.on_unknown(lost)
            if page.cursor != cursor:
                await self._session.advance_bank_cursor(page.cursor)
            cursor = page.cursor
            if not page.more:
                return True
        return False

    async def _read_on_in_the_round(self) -> None:
        try:
            page = await self._bank.read_books(self._round_cursor)
        except CursorUnknown:
            self._round_cursor = None
            raise
        await self._compare(page)
        self._round_cursor = page.cursor if page.more else None

    async def _compare(self, page: BooksPage) -> list[BookEntry]:
        """Compare a page; return the entries that are ours by their reference, and that we never sent."""
        for line in page.passed_over:
            self.discrepancies.name("unreadable", "", bank=line)
        references = {_reference(entry.reference) for entry in page.entries} - {None}
        known = await self._session.by_references([one for one in references if one is not None])
        to_look_up, lost = [], []
        prefixes = await self._session.bank_prefixes()
        for entry in page.entries:
            ours = known.get(entry.reference)
            if _was_never_sent(entry, ours, prefixes):
                lost.append(entry)
            if ours is None:
                if entry.status != "declined" and not is_check(entry.reference):
                    self._name("unknown_here", entry)
            elif (entry.amount, entry.currency) != (ours.amount, ours.currency):
                self._name("different", entry, ours=f"{ours.amount} {ours.currency}")
            elif self._wants_look_up(entry, ours):
                to_look_up.append(ours)
        if to_look_up:
            await self._session.look_up_soon(to_look_up)
        return lost

    def _wants_look_up(self, entry: BookEntry, ours: WithdrawalRow) -> bool:
        """Tell whether the bank is to be asked about an entry; name what it could not settle."""
        status = Status(ours.status)
        if entry.status == "declined":
            # While it is open here, its actor is about to hear of it.
            return status in (Status.COMPLETED, Status.REQUIRES_ATTENTION)
        if status in (Status.PENDING, Status.FAILED, Status.CANCELLED):
            self._name("paid_but_not_by_us", entry, ours=status.value)
            return False
        if not entry.is_paid:
            return status is Status.REQUIRES_ATTENTION
        if status in OPEN_STATES:
            return True
        if ours.bank_reference != entry.payout_id:
            self._name("doubled", entry, ours=ours.bank_reference)
            return False
        if entry.returned_amount is not None and entry.returned_amount < ours.amount:
            self._name("returned_less", entry, ours=f"{ours.amount} {ours.currency}")
        return entry.status == "returned" and status is not Status.RETURNED

    def _name(self, kind: str, entry: BookEntry, ours: str | None = None) -> None:
        back = "" if entry.returned_amount is None else f", {entry.returned_amount} came back"
        bank = f"{entry.payout_id}: {entry.amount} {entry.currency} {entry.status}{back}"
        self.discrepancies.name(kind, entry.reference, bank=bank, ours=ours)


def _was_never_sent(entry: BookEntry, ours: WithdrawalRow | None, prefixes: frozenset[str]) -> bool:
    """Tell whether the bank has an order of ours that, as far as we know, never left."""
    if ours is not None:
        return ours.status == Status.PENDING
    return len(entry.reference) == _REFERENCE_LENGTH and entry.reference[:_PREFIX_LENGTH] in prefixes


def _reference(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None

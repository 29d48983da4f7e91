"""Compares our ledger with the bank's books piece by piece: a disagreement is looked up or reported.

There are two readings of the bank's books. *New entries* are read from a cursor kept in the database; each is seen
once. *The round* reads all entries again from the first to the last, one page per turn, because a payout that the bank
returns later changes an entry that was read long ago (and its callback may have been lost). The complete comparison,
which also reports payouts that the bank lacks, is `wbs reconcile`.
"""

from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from uuid import UUID

from actors.bank.books import BOOKS_WITHIN_S, pages_of
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
"""Number of pages of new entries per turn."""


class BankComparison:
    """Compares in turns. It looks up disagreements that the bank's word may settle, and reports the others."""

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
        """Callback for new entries that have a reference of ours that we never sent."""
        self.unknown = 0
        """Number of these entries so far."""
        self.look_ups = LookUps(bank, session, withdrawals, self.discrepancies, our_codes)

    async def take_turn(self) -> None:
        """Read a little further. Raises `BooksUnreadable`, `db.errors.CONNECTION_ERRORS`."""
        await self.look_ups.ask_about_the_stuck()
        await self.read_new_entries()
        await self._read_on_in_the_round()

    async def read_everything(self, within_s: float = BOOKS_WITHIN_S) -> int:
        """Read the bank's books from the first entry to the last, and do all the look-ups that are due.

        Return the number of entries. Raises the same errors as `take_turn`; BooksUnreadable also if the books do not
        end within `within_s` seconds. After that time no further look-up begins.
        """
        give_up_at = monotonic() + within_s
        entries = 0
        async for page in pages_of(self._bank, within_s=within_s):
            await self._compare(page)
            while await self.look_ups.work_off() and monotonic() < give_up_at:
                pass
            entries += len(page.entries)
        while await self.look_ups.ask_about_the_stuck() and monotonic() < give_up_at:
            pass
        return entries

    async def read_new_entries(self) -> bool:
        """Read new entries of the bank's books, a few pages at most. Return whether all of them were read."""
        cursor = await self._session.bank_cursor()
        for _ in range(PAGES_MAX):
            try:
                page = await self._bank.read_books(cursor)
            except CursorUnknown:
                # These are not the books that we read before (the bank was set up anew): read them from the start.
                log.error("bank_books_changed", cursor=cursor)
                await self._session.advance_bank_cursor(None)
                raise
            lost = await self._compare(page)
            if lost and self.on_unknown is not None:
                # Report them before the cursor advances: entries before the cursor are not new any more.
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
        """Compare a page; return the entries that have a reference of ours that we never sent."""
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
        """Return whether to look up an entry; report a disagreement that a look-up could not settle."""
        status = Status(ours.status)
        if entry.status == "declined":
            # While the withdrawal is open here, its actor will learn of the decline.
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
    """Return whether the bank has an order of ours that, as far as we know, was never sent."""
    if ours is not None:
        return ours.status == Status.PENDING
    return len(entry.reference) == _REFERENCE_LENGTH and entry.reference[:_PREFIX_LENGTH] in prefixes


def _reference(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
